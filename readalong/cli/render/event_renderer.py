"""A job's events: text on stdout, notes on stderr."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console
from rich.style import Style
from rich.text import Text

from readalong.cli.exit_codes import CANCELLED, DONE, FAILED
from readalong.cli.follower import ReceivedEvent
from readalong.cli.json_fields import mapping
from readalong.cli.render.metrics import summary
from readalong.cli.sanitize import harmless_json, one_line
from readalong.core.sanitize import harmless


class EventRenderer:
    """Writes the text of the first choice to stdout, and everything else to stderr.

    A pipe gets the text unchanged: it is data there. A terminal gets its control characters in visible form: a model
    must not steer a terminal. stderr never gets control characters.
    """

    def __init__(self, out: TextIO | None = None, notes: Console | None = None) -> None:
        self._out = out or sys.stdout
        self._notes = notes or Console(stderr=True, highlight=False)
        self._terminal = self._out.isatty()
        #: The event type that began the unfinished line of the terminal: "content", "reasoning", "refusal".
        self._open_line: str | None = None
        self._other_choices: dict[int, list[str]] = {}

    def render(self, event: ReceivedEvent) -> int | None:
        """Writes one event. Returns the exit code if the event is the last."""
        fields = event.fields
        match event.type:
            case "content":
                choice = _integer(fields.get("choice"))
                text = str(fields.get("content") or "")
                if choice:  # two interleaved texts could not be read: the other choices follow at the end
                    self._other_choices.setdefault(choice, []).append(text)
                else:
                    self._text(text)
            case "reasoning" | "refusal" if not fields.get("choice"):
                self._aside(event.type, str(fields.get("content") or ""))
            case "tool_call":
                self.note(f"tool call {_call(fields)}", "cyan")
            case "function_call":
                self.note(f"function call {_call(fields)}", "cyan")
            case "restarted":
                self._restarted(fields)
            case "waiting" if fields.get("for") == "worker":
                self._no_worker(event.seq)
            case "waiting" if fields.get("for") == "model":
                self.note(f"waiting for the model ({fields.get('reason')})", "yellow")
            case "done":
                return self._done(fields)
            case "cancelled":
                by = fields.get("by")
                self._end("cancelled" + (f" by {by}" if isinstance(by, str) and by else ""), fields, "yellow")
                return CANCELLED
            case "failed":
                error = mapping(fields.get("error"))
                retry = "; a new job may succeed" if error.get("retryable") else ""
                self._end(f"failed: {error.get('message')} ({error.get('code')}{retry})", fields, "red")
                return FAILED
        return None

    def note(self, line: str, style: str = "dim") -> None:
        """Writes one line to stderr, without markup."""
        self.end_line()
        self._notes.print(Text(one_line(line, 2000), style=style), soft_wrap=True)

    def _text(self, text: str) -> None:
        if not text:
            return
        if self._open_line != "content":
            self.end_line()
        self._out.write(harmless(text) if self._terminal else text)
        self._out.flush()
        self._open_line = None if text.endswith("\n") else "content"

    def _aside(self, kind: str, text: str) -> None:
        """Writes reasoning or a refusal: dim, on stderr."""
        if not text:
            return
        if self._open_line != kind:
            self.end_line()
            self._notes.print(Text(f"{kind}: ", style="dim bold"), end="")
        self._notes.print(Text(harmless(text), style=Style(dim=True, italic=True)), end="", soft_wrap=True)
        self._open_line = kind

    def end_line(self) -> None:
        """Ends an unfinished line of a terminal. A pipe gets nothing but the model's text."""
        if self._open_line == "content" and self._terminal:
            self._out.write("\n")
            self._out.flush()
        elif self._open_line in ("reasoning", "refusal"):
            self._notes.print()
        self._open_line = None

    def _no_worker(self, seq: int) -> None:
        """Reports a job that no worker runs. The first event is `queued`, the second one a worker's."""
        if seq <= 1:
            why = "none is there (readalong worker starts one)"
        else:
            why = "its own is lost, or refused by its model, and no other has begun (readalong status tells more)"
        self.note(f"waiting for a worker: {why}", "yellow")

    def _restarted(self, fields: dict[str, Any]) -> None:
        self.end_line()
        self._other_choices.clear()
        line = one_line(f"restarted (attempt {fields.get('attempt')}: {fields.get('reason')})")
        self._notes.rule(Text(line, style="yellow"), style="yellow")

    def _done(self, fields: dict[str, Any]) -> int:
        for choice, texts in sorted(self._other_choices.items()):
            self.end_line()
            self._notes.rule(Text(one_line(f"choice {choice}"), style="dim"), style="dim")
            self._notes.print(Text(harmless("".join(texts))), soft_wrap=True)
        self._end(f"done ({fields.get('finish_reason')})", fields, "dim")
        return DONE

    def _end(self, line: str, fields: dict[str, Any], style: str) -> None:
        numbers = summary(mapping(fields.get("metrics")), mapping(fields.get("usage")))
        self.note(line + (f" · {numbers}" if numbers else ""), style)


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _call(fields: dict[str, Any]) -> str:
    """Returns `get_weather({"city":"Paris"})`, or the raw arguments and their error."""
    arguments = fields.get("arguments")
    if (error := fields.get("arguments_error")) is not None:
        return f"{fields.get('name')}: invalid JSON as arguments ({error}): {arguments}"
    return f"{fields.get('name')}({harmless_json(arguments)})"
