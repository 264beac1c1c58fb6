"""The events of `/v1/responses`: each with its number, in the order that the official SDKs accept."""

from __future__ import annotations

from typing import Any, Final

import orjson

from readalong.api.wire.openai_responses.items import WireEvent
from readalong.api.wire.openai_responses.output import Output
from readalong.api.wire.openai_responses.response_object import ResponseHead
from readalong.core.events import TEXT, TOOLS, UNNUMBERED, Event
from readalong.core.position import Position

#: Why an answer is incomplete, by its finish reason.
_INCOMPLETE: Final = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}
_SAYS: Final = TEXT | TOOLS


class ResponsesFormat:
    """Those of one response are equal, so that its watchers share their bytes."""

    stateful = True

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        reasoning = orjson.loads(head.echo).get("reasoning") or {}
        # Reasoning is shown as a summary if the request asks for one.
        self._output = Output(head.job_id, summarized=bool(reasoning.get("summary")))
        self._numbered = 0
        self._status = "queued"
        #: The whole object, once the response has ended.
        self._snapshot: bytes | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResponsesFormat) and self.head == other.head

    def __hash__(self) -> int:
        return hash(self.head)

    def start(self, joined: Position | None) -> bytes:
        return b""

    def end(self) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        """See `Format.encode`."""
        if event.seq == UNNUMBERED:
            return b""
        if event.type == "restarted" and event.fields().get("reason") == "log_lost":
            # The events that follow repeat numbers and items that the client has seen: `UntilLost` ends the stream.
            return self._frames([("error", orjson.dumps(_LOG_LOST))])
        events = self._take(event)
        frames = self._frames(events)
        if events and event.chunk_lengths:
            # Each piece that is not empty is an event of its own.
            self._numbered += sum(length > 0 for length in event.chunk_lengths) - 1
        return frames

    def json(self) -> bytes:
        """Returns the Response object after the events so far."""
        return self._snapshot or self.head.json(self._status, self._output.items())

    def items(self) -> list[dict[str, Any]]:
        """Returns the output items so far."""
        return [orjson.loads(item) for item in self._output.items()]

    def _take(self, event: Event) -> list[WireEvent]:
        kind = event.type
        if kind in _SAYS:
            return self._output.take(kind, event.fields())
        if kind == "queued":
            return [self._lifecycle("created"), self._lifecycle("queued")]
        if kind == "started":
            self._status = "in_progress"
            return [self._lifecycle("in_progress")]
        if kind == "restarted":
            # The SDKs count on an item for each output index that was said: those of the lost attempt stand here once
            # more, and are not in the response's end.
            self._status = "in_progress"
            events = self._output.restart(event.fields()["attempt"])
            return [*events, self._lifecycle("in_progress", self._output.all_items())]
        return self._finish(kind, event.fields()) if event.terminal else []

    def _finish(self, kind: str, fields: dict[str, Any]) -> list[WireEvent]:
        output, usage = self._output, fields.get("usage")
        reason = _INCOMPLETE.get(str(fields.get("finish_reason")).lower()) if kind == "done" else None
        events = output.take(kind, {"extra": fields.get("extra") or {}})
        whole = kind == "done" and reason is None
        events += output.close("completed" if whole else "incomplete", cut=kind != "done")
        if kind == "failed":
            shown, snapshot = "failed", self.head.json("failed", output.items(), usage=usage, error=fields["error"])
        elif kind == "cancelled":
            # There is no `response.cancelled`: both SDKs' helpers refuse types that they do not know.
            shown, snapshot = "failed", self.head.json("cancelled", output.items(), usage=usage)
        elif reason is not None:
            shown, snapshot = "incomplete", self.head.json("incomplete", output.items(), usage=usage, reason=reason)
        else:
            seconds = (fields.get("metrics") or {}).get("total_seconds", 0.0)
            shown, snapshot = "completed", self.head.json("completed", output.items(), usage=usage, seconds=seconds)
        self._snapshot = snapshot
        return [*events, (f"response.{shown}", b'{"response":%s}' % snapshot)]

    def _lifecycle(self, name: str, output: list[bytes] | None = None) -> WireEvent:
        snapshot = self.head.json(self._status, output or [])
        return f"response.{name}", b'{"response":%s}' % snapshot

    def _frames(self, events: list[WireEvent]) -> bytes:
        frames = []
        for kind, fields in events:
            name = kind.encode()
            frames.append(
                b'event: %s\ndata: {"type":"%s","sequence_number":%d,%s\n\n' % (name, name, self._numbered, fields[1:])
            )
            self._numbered += 1
        return b"".join(frames)


_LOG_LOST: Final = {
    "code": "log_lost",
    "message": "Redis has lost events of this response; stream it again from the start.",
    "param": None,
}
