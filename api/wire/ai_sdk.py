"""The AI SDK's UI message stream, version 1: what `useChat` reads.

A frame is one chunk, `data: {"type":…}`; the last line is `data: [DONE]`. How many chunks an event has depends on the
log alone, so the number of a chunk is a position (`FromChunk`), which the SDK's WorkflowChatTransport resumes from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from readalong.api.wire.usage import camel_case_usage
from readalong.core.events import TEXT, UNNUMBERED, Event
from readalong.core.position import Position
from readalong.core.sse import frame

#: How a lost attempt is told: `reset-step` is a chunk of `ai` 7, which drops its parts. `data` is a part of every
#: version, behind which the parts that count begin.
Reset = Literal["reset-step", "data"]
#: The name of our own entries in messages: of data parts, and of what we add to the parts of others.
OURS: Final = "readalong"

_DONE: Final = frame(b"[DONE]")
_FINISH: Final = b'data: {"type":"finish"'
_FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}
#: Fields of a tool call that have a place of their own in a chunk.
_CALL_FIELDS: Final = frozenset(
    {"index", "choice", "id", "name", "tool_type", "arguments", "arguments_error", "arguments_text", "input"}
)

Chunk = dict[str, Any]


class _State:
    """What the chunks so far have begun."""

    __slots__ = ("calls", "chunks", "job_id", "kind", "opened_at", "parts")

    def __init__(self) -> None:
        self.job_id = ""
        self.chunks = 0
        #: Text and reasoning parts so far: their numbers are their ids, also over a restart.
        self.parts = 0
        #: The kind of text that is open, or "".
        self.kind = ""
        #: The number of the chunk that began the part or the tool call that is open.
        self.opened_at: int | None = None
        #: Ids of the attempt's tool calls that have begun, by index.
        self.calls: dict[int, str] = {}


@dataclass(frozen=True, slots=True)
class AiSdkStream:
    """`message_id`: of the message that the answer continues; "": it is a message of its own, named after the job."""

    reset: Reset = "reset-step"
    message_id: str = ""
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    @property
    def stateful(self) -> bool:
        return True

    @property
    def chunks(self) -> int:
        """How many chunks the events so far have."""
        return self._state.chunks

    @property
    def opened_at(self) -> int | None:
        """The number of the chunk that began the part that is open; None if none is."""
        return self._state.opened_at

    def start(self, joined: Position | None) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        """See `Format.encode`."""
        if event.seq == UNNUMBERED:
            return b""  # a chunk that the log does not have would shift the numbers of all others
        fields = event.fields()
        if fields.get("choice"):
            return b""  # a message is one answer
        chunks = self._text(event.type, fields["content"]) if event.type in TEXT else self._other(event.type, fields)
        self._state.chunks += len(chunks)
        # Each piece of a merged event that is not empty would have been a chunk of its own.
        self._state.chunks += max(0, sum(length > 0 for length in event.chunk_lengths) - 1)
        return b"".join(frame(orjson.dumps(chunk)) for chunk in chunks)

    def end(self) -> bytes:
        return _DONE

    def _other(self, kind: str, fields: dict[str, Any]) -> list[Chunk]:
        match kind:
            case "queued":
                chunks = [self._begin(fields)]
            case "started":
                chunks = [{"type": "start-step"}]
            case "tool_call_delta":
                chunks = self._tool_input(fields)
            case "tool_call" | "function_call":
                chunks = self._tool_call(fields)
            case "restarted":
                chunks = self._restart(fields)
            case "waiting":
                chunks = [{"type": f"data-{OURS}", "data": {"status": "waiting", **fields}, "transient": True}]
            case _:
                chunks = self._finish(kind, fields)
        return chunks

    def _begin(self, fields: dict[str, Any]) -> Chunk:
        self._state.job_id = job_id = fields["job_id"]
        metadata = {"jobId": job_id, "model": fields["model"], "createdAt": fields["created_at"]}
        return {"type": "start", "messageId": self.message_id or f"msg_{job_id}", "messageMetadata": metadata}

    def _text(self, kind: str, text: str) -> list[Chunk]:
        if not text:
            return []
        state, chunks = self._state, []
        part = "reasoning" if kind == "reasoning" else "text"
        if kind != state.kind:
            chunks += self._close()
            state.parts += 1
            state.kind, state.opened_at = kind, state.chunks + len(chunks)
            begin: Chunk = {"type": f"{part}-start", "id": str(state.parts)}
            if kind == "refusal":
                begin["providerMetadata"] = {OURS: {"refusal": True}}
            chunks.append(begin)
        return [*chunks, {"type": f"{part}-delta", "id": str(state.parts), "delta": text}]

    def _close(self) -> list[Chunk]:
        """Ends the text that is open."""
        state = self._state
        kind, state.kind, state.opened_at = state.kind, "", None
        return (
            [{"type": f"{'reasoning' if kind == 'reasoning' else 'text'}-end", "id": str(state.parts)}] if kind else []
        )

    def _tool_input(self, fields: dict[str, Any]) -> list[Chunk]:
        """Begins a call with the first piece of its arguments: its name may come in pieces before it."""
        state, index = self._state, fields["index"]
        if not fields["arguments"]:
            return []
        chunks = []
        if index not in state.calls:
            chunks += self._close()
            call_id = self._call_id(index, fields.get("id"))
            state.opened_at = state.chunks + len(chunks)
            chunks.append({"type": "tool-input-start", "toolCallId": call_id, "toolName": fields.get("name") or ""})
        delta = {"type": "tool-input-delta", "toolCallId": state.calls[index], "inputTextDelta": fields["arguments"]}
        return [*chunks, delta]

    def _tool_call(self, fields: dict[str, Any]) -> list[Chunk]:
        chunks, custom = self._close(), fields.get("tool_type") == "custom"
        call_id = self._call_id(fields.get("index", -1), fields.get("id"))
        call: Chunk = {"type": "tool-input-available", "toolCallId": call_id, "toolName": fields.get("name") or ""}
        if "arguments_error" in fields:
            call["type"] = "tool-input-error"
            call["input"] = fields.get("arguments_text")
            call["errorText"] = f"The arguments are no JSON: {fields['arguments_error']}"
        else:
            call["input"] = fields["input"] if custom else fields.get("arguments")
        # Such as a signature without which the model refuses the next turn.
        kept = {name: value for name, value in fields.items() if name not in _CALL_FIELDS}
        if kept := {**({"type": "custom"} if custom else {}), **kept}:
            call["providerMetadata"] = {OURS: kept}
        return [*chunks, call]

    def _call_id(self, index: int, given: str | None) -> str:
        """Returns the id under which the client knows a call. Models leave ids out, or use one for several calls."""
        calls = self._state.calls
        if index not in calls:
            calls[index] = given if given and given not in calls.values() else f"call_{self._state.job_id}_{index}"
        return calls[index]

    def _restart(self, fields: dict[str, Any]) -> list[Chunk]:
        chunks = self._close()
        self._state.calls.clear()
        if self.reset == "reset-step":
            return [*chunks, {"type": "reset-step"}]
        told = {"status": "restarted", "attempt": fields.get("attempt"), "reason": fields.get("reason")}
        # The new step keeps calls of the lost attempt from being waited for.
        return [*chunks, {"type": "finish-step"}, {"type": f"data-{OURS}", "data": told}, {"type": "start-step"}]

    def _finish(self, kind: str, fields: dict[str, Any]) -> list[Chunk]:
        """`finish` ends every answer: without it a WorkflowChatTransport asks again for ever."""
        chunks, metadata = self._close(), _end_metadata(fields)
        finish: Chunk = {"type": "finish"}
        if kind == "failed":
            # At an error the client stops reading, so the metadata come before it.
            error = fields["error"]
            metadata["error"] = {name: error[name] for name in ("code", "retryable") if name in error}
            chunks.append({"type": "message-metadata", "messageMetadata": metadata})
            chunks.append({"type": "error", "errorText": error["message"]})
            return [*chunks, {**finish, "finishReason": "error"}]
        if kind == "cancelled":
            chunks.append({"type": "abort", "reason": f"Cancelled by {fields['by']}."})
        else:
            chunks.append({"type": "finish-step"})
            finish["finishReason"] = _FINISH_REASONS.get(str(fields.get("finish_reason")), "other")
        return [*chunks, {**finish, "messageMetadata": metadata}]


def _end_metadata(fields: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if usage := camel_case_usage(fields.get("usage")):
        metadata["usage"] = usage
    if fields.get("metrics"):
        metadata["metrics"] = fields["metrics"]
    return metadata


#: The whole stream for a chat in which nothing runs, for a client that would take an empty one for a break.
NOTHING: Final = frame(b'{"type":"finish"}') + _DONE


class FromChunk:
    """The cut of a client that has the chunks before this number. The last chunk is never cut: a client that did not
    get it would come back for ever."""

    marker: Final = b""

    def __init__(self, number: int) -> None:
        self._left = number

    @property
    def done(self) -> bool:
        return not self._left

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        if self.done or frames.startswith(b":"):
            return frames, False
        ends = frames.endswith(_DONE)
        count = frames.count(b"\n\n") - ends
        if count <= self._left:
            if ends:
                self._left = 0
                return frames[frames.rindex(_FINISH) :], False
            self._left -= count
            return b"", False
        rest = frames.split(b"\n\n", self._left)[-1]
        self._left = 0
        return rest, False
