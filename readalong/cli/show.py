"""Events as text on stdout and notes on stderr."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.style import Style
from rich.text import Text

from readalong.cli.follow import Seen
from readalong.cli.metrics import summary
from readalong.cli.plain import harmless_json, one_line
from readalong.core.sanitize import harmless

#: Exit codes of `readalong watch` and `readalong ask`.
DONE, FAILED, CANCELLED, INTERRUPTED = 0, 1, 2, 130


class Show:
    """Writes the model's text to stdout as it comes, exactly, and everything else to stderr.

    stdout holds nothing but text of the first choice. A pipe gets it as it is, since it is data there. On a terminal
    its control characters are made visible: a model must not be able to steer it. stderr is harmless everywhere.
    """

    def __init__(self, out: TextIO | None = None, notes: Console | None = None) -> None:
        self._out = out or sys.stdout
        self._notes = notes or Console(stderr=True, highlight=False)
        self._terminal = self._out.isatty()
        #: Whether the cursor of a terminal stands inside a line, and who wrote it: "content", "reasoning", "refusal".
        self._line: str | None = None
        self._others: dict[int, list[str]] = {}

    def event(self, seen: Seen) -> int | None:
        """Shows one event; answers the exit code if it is the last."""
        fields = seen.fields
        match seen.type:
            case "content":
                choice = _whole(fields.get("choice"))
                text = str(fields.get("content") or "")
                if choice:  # two texts in one stream of words could not be read: the others follow at the end
                    self._others.setdefault(choice, []).append(text)
                else:
                    self._text(text)
            case "reasoning" | "refusal" if not fields.get("choice"):
                self._aside(seen.type, str(fields.get("content") or ""))
            case "tool_call":
                self.note(f"tool call {_call(fields)}", "cyan")
            case "function_call":
                self.note(f"function call {_call(fields)}", "cyan")
            case "restarted":
                self._restarted(fields)
            case "waiting" if fields.get("for") == "worker":
                self.note("waits for a worker", "yellow")
            case "waiting" if fields.get("for") == "model":
                self.note(f"waits for its model ({fields.get('reason')})", "yellow")
            case "done":
                return self._done(fields)
            case "cancelled":
                by = fields.get("by")
                self._end("cancelled" + (f" by {by}" if isinstance(by, str) and by else ""), fields, "yellow")
                return CANCELLED
            case "failed":
                error = _mapping(fields.get("error"))
                retry = "; a new job may succeed" if error.get("retryable") else ""
                self._end(f"failed: {error.get('message')} ({error.get('code')}{retry})", fields, "red")
                return FAILED
        return None

    def note(self, line: str, style: str = "dim") -> None:
        """One line on stderr, without markup."""
        self._break()
        self._notes.print(Text(one_line(line, 2000), style=style), soft_wrap=True)

    def _text(self, text: str) -> None:
        if not text:
            return
        if self._line != "content":
            self._break()
        self._out.write(harmless(text) if self._terminal else text)
        self._out.flush()
        self._line = None if text.endswith("\n") else "content"

    def _aside(self, kind: str, text: str) -> None:
        """The model's words that are not its answer: dim, on stderr."""
        if not text:
            return
        if self._line != kind:
            self._break()
            self._notes.print(Text(f"{kind}: ", style="dim bold"), end="")
        self._notes.print(Text(harmless(text), style=Style(dim=True, italic=True)), end="", soft_wrap=True)
        self._line = kind

    def _break(self) -> None:
        """Ends a line that has begun, on the terminal that shows it; a pipe gets the model's text and no more."""
        if self._line == "content" and self._terminal:
            self._out.write("\n")
            self._out.flush()
        elif self._line in ("reasoning", "refusal"):
            self._notes.print()
        self._line = None

    def _restarted(self, fields: dict[str, Any]) -> None:
        self._break()
        self._others.clear()
        words = one_line(f"restarted (attempt {fields.get('attempt')}: {fields.get('reason')})")
        self._notes.rule(Text(words, style="yellow"), style="yellow")

    def _done(self, fields: dict[str, Any]) -> int:
        for choice, pieces in sorted(self._others.items()):
            self._break()
            self._notes.rule(Text(one_line(f"choice {choice}"), style="dim"), style="dim")
            self._notes.print(Text(harmless("".join(pieces))), soft_wrap=True)
        self._end(f"done ({fields.get('finish_reason')})", fields, "dim")
        return DONE

    def _end(self, words: str, fields: dict[str, Any], style: str) -> None:
        numbers = summary(_mapping(fields.get("metrics")), _mapping(fields.get("usage")))
        self.note(words + (f" · {numbers}" if numbers else ""), style)


def _mapping(value: object) -> dict[str, Any]:
    """`value` if it is an object; an empty one for what a server should not send."""
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _call(fields: dict[str, Any]) -> str:
    """`get_weather({"city":"Paris"})`, or the raw arguments and what is wrong with them."""
    arguments = fields.get("arguments")
    if (error := fields.get("arguments_error")) is not None:
        return f"{fields.get('name')}: its arguments are no JSON ({error}): {arguments}"
    return f"{fields.get('name')}({harmless_json(arguments)})"
