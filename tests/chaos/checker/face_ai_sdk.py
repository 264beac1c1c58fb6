"""The AI SDK's UI message stream: each event of the log is some chunks, and their numbers are positions."""

from __future__ import annotations

from typing import Any, Final

from tests.chaos.checker.history import DONE, Job, Watch
from tests.chaos.checker.log import Event
from tests.chaos.checker.told import Told, Wrong, astray, parsed

_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}
#: A text that begins so is no content.
REFUSAL: Final = "refusal"
#: The field of a chunk with its value; other chunks have none that the log tells.
_VALUES: Final = {
    "start": "messageId",
    "text-delta": "delta",
    "reasoning-delta": "delta",
    "tool-input-start": "toolName",
    "tool-input-delta": "inputTextDelta",
    "tool-input-available": "toolName",
    "error": "errorText",
    "finish": "finishReason",
}


def check(watch: Watch, job: Job) -> Wrong | None:
    """Chunk for chunk from the watch's first one on. Behind the last chunk that one comes once more."""
    if watch.said and watch.open.record["status"] != 200:
        return None
    expected = _Chunks(job).all()
    first = min(watch.after, len(expected) - 2)
    for number, line in enumerate(watch.said):
        one, place = told(line.record["data"]), first + number
        if one is None or place >= len(expected) or one != expected[place]:
            return *astray(one, expected, place), number
    return None


def told(data: str) -> Told | None:
    """Returns None for a line without a meaning."""
    if data == DONE:
        return Told(DONE)
    fields = parsed(data)
    if fields is None or "type" not in fields:
        return None
    kind = fields["type"]
    if kind == "message-metadata":
        return Told(kind, None, ((fields.get("messageMetadata") or {}).get("error") or {}).get("code"))
    if kind == "text-start" and (fields.get("providerMetadata") or {}).get("readalong") == {REFUSAL: True}:
        return Told(kind, None, REFUSAL)
    return Told(kind, None, fields.get(_VALUES[kind]) if kind in _VALUES else None)


class _Chunks:
    """The chunks of a job's log."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._chunks: list[Told] = []
        self._open = ""
        self._calls: set[int] = set()

    def all(self) -> list[Told]:
        for event in self._job.log:
            fields = event.fields
            if not fields.get("choice"):
                self._add(event, fields)
        return self._chunks

    def _add(self, event: Event, fields: dict[str, Any]) -> None:
        match event.type:
            case "queued":
                self._tell("start", f"msg_{self._job.id}")
            case "started":
                self._tell("start-step")
            case "content" | "refusal" | "reasoning":
                self._text(event.type, fields["content"])
            case "tool_call_delta":
                self._call(fields)
            case "tool_call":
                self._close()
                broken = "arguments_error" in fields
                self._tell(
                    "tool-input-error" if broken else "tool-input-available",
                    None if broken else fields.get("name") or "",
                )
            case "waiting":
                self._tell("data-readalong")
            case "restarted":
                self._close()
                self._calls.clear()
                self._tell("reset-step")
            case _:
                self._end(event.type, fields)

    def _text(self, kind: str, text: str) -> None:
        if not text:
            return
        if kind != self._open:
            self._close()
            self._open = kind
            self._tell(f"{_part(kind)}-start", REFUSAL if kind == REFUSAL else None)
        self._tell(f"{_part(kind)}-delta", text)

    def _call(self, fields: dict[str, Any]) -> None:
        if not fields["arguments"]:
            return
        if fields["index"] not in self._calls:
            self._close()
            self._calls.add(fields["index"])
            self._tell("tool-input-start", fields.get("name") or "")
        self._tell("tool-input-delta", fields["arguments"])

    def _end(self, kind: str, fields: dict[str, Any]) -> None:
        self._close()
        if kind == "failed":
            self._tell("message-metadata", fields["error"]["code"])
            self._tell("error", fields["error"]["message"])
            self._tell("finish", "error")
        elif kind == "cancelled":
            self._tell("abort")
            self._tell("finish")
        else:
            self._tell("finish-step")
            self._tell("finish", _REASONS.get(str(fields.get("finish_reason")), "other"))
        self._tell(DONE)

    def _close(self) -> None:
        if self._open:
            self._tell(f"{_part(self._open)}-end")
        self._open = ""

    def _tell(self, kind: str, value: str | None = None) -> None:
        self._chunks.append(Told(kind, None, value))


def _part(kind: str) -> str:
    return "reasoning" if kind == "reasoning" else "text"
