"""From the chunks of a model to the events of a job, for streams without a server. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from readalong.client.events import Event, parse_event
from readalong.client.progress import ProgressMeter
from readalong.client.transcript import Transcript

#: Events of text, in the order in which they are told, and their fields in a delta. Some servers send a text twice,
#: under both names: the first one counts.
_TEXTS: Final = (
    ("reasoning", ("reasoning_content", "reasoning")),
    ("content", ("content",)),
    ("refusal", ("refusal",)),
)


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    #: Of a custom tool: its input is text.
    custom: bool = False

    def whole(self) -> dict[str, Any]:
        """Returns the call with its arguments parsed."""
        text = "".join(self.arguments)
        if self.custom:
            return {"name": self.name, "tool_type": "custom", "arguments": None, "input": text}
        try:
            parsed = orjson.loads(text or "{}")
        except ValueError as error:
            return {"name": self.name, "arguments": None, "arguments_text": text, "arguments_error": str(error)}
        return {"name": self.name, "arguments": parsed}


class ChunkEvents:
    """Numbers the events of one generation, and collects what its end tells."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._seq = 0
        self._transcript = Transcript()
        self._meter = ProgressMeter()
        self._calls: dict[int, _Call] = {}
        self._function: _Call | None = None
        self._whole_calls: list[dict[str, Any]] = []
        self._finish_reason: str | None = None
        self._usage: Mapping[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether the model has said why it ended."""
        return self._finish_reason is not None

    def begin(self) -> Iterator[Event]:
        yield self._event("queued", model=self._model, created_at=datetime.now(UTC).isoformat())
        yield self._event("started", attempt=1)

    def read(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """Yields the events of a chunk."""
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            index, delta = choice.get("index") or 0, choice.get("delta") or {}
            other = {"choice": index} if index else {}
            for kind, names in _TEXTS:
                texts = (text for name in names if isinstance(text := delta.get(name), str) and text)
                if text := next(texts, ""):
                    yield self._event(kind, content=text, **other)
            if not index:
                for piece in delta.get("tool_calls") or ():
                    yield self._tool_call(piece)
                if piece := delta.get("function_call"):
                    self._function = self._function or _Call()
                    _add(self._function, piece)
                self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def done(self) -> Iterator[Event]:
        """Yields the whole calls and the end."""
        for index, call in sorted(self._calls.items()):
            fields = {"index": index, "id": call.id, **call.whole()}
            self._whole_calls.append(fields)
            yield self._event("tool_call", **fields)
        if self._function is not None:
            yield self._event("function_call", **self._function.whole())
        yield self._end("done", finish_reason=self._finish_reason)

    def cancelled(self) -> Event:
        return self._end("cancelled", by="client")

    def failed(self, code: str, message: str, *, retryable: bool) -> Event:
        return self._end("failed", error={"code": code, "message": message, "retryable": retryable})

    def _tool_call(self, piece: Mapping[str, Any]) -> Event:
        index = piece.get("index") or 0
        call = self._calls.setdefault(index, _Call())
        call.id = piece.get("id") or call.id
        call.custom = call.custom or bool(piece.get("custom"))
        fragment = _add(call, piece.get("custom") or piece.get("function") or {})
        kind = {"tool_type": "custom"} if call.custom else {}
        return self._event("tool_call_delta", index=index, id=call.id, name=call.name, arguments=fragment, **kind)

    def _end(self, kind: str, **fields: Any) -> Event:
        now = self._meter.progress
        metrics = {
            "time_to_first_token": now.time_to_first_token,
            "total_seconds": now.total_seconds,
            "chunk_count": now.count,
            "tokens_per_second": now.tokens_per_second,
        }
        more = {"content": self._transcript.text, "tool_calls": self._whole_calls, "usage": self._usage}
        if self._function is not None:
            more["function_call"] = self._function.whole()
        known = {name: value for name, value in metrics.items() if value is not None}
        return self._event(kind, **fields, **more, metrics=known)

    def _event(self, kind: str, **fields: Any) -> Event:
        self._seq += 1
        event = parse_event(kind, {"type": kind, **fields}, position=str(self._seq), seq=self._seq)
        self._transcript.add(event)
        self._meter.add(event)
        return event


def _add(call: _Call, function: Mapping[str, Any]) -> str:
    """Adds a piece to a call; returns its part of the arguments."""
    call.name = function.get("name") or call.name
    fragment = str(function.get("arguments") or function.get("input") or "")
    call.arguments.append(fragment)
    return fragment
