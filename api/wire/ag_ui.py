"""AG-UI 1.0: the events of a run, as the protocol's clients read and verify them.

A frame is one event, `data: {"type":…}`. Its `id:` is a position of the log, or one inside an event that has several
frames, `<position>.<frames>`: a client that is cut off between two frames goes on behind the first (`AfterFrame`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from readalong.api.wire.openai_fields import call_arguments
from readalong.api.wire.usage import camel_case_usage
from readalong.core.events import TEXT, UNNUMBERED, Event
from readalong.core.position import Position

VERSION: Final = "1.0"
#: The name of our own fields in metadata and input, and the beginning of the names of our CUSTOM events.
OURS: Final = "readalong"
#: Fields of a tool call that have a place of their own in its frames.
_CALL_FIELDS: Final = frozenset(
    {"index", "choice", "id", "name", "tool_type", "input", "arguments", "arguments_error", "arguments_text"}
)

Frame = dict[str, Any]


class _State:
    """What the frames so far have begun."""

    __slots__ = ("calls", "job_id", "kind", "model", "named", "open_calls", "position", "reasoned", "reasoning", "step")

    def __init__(self) -> None:
        self.job_id = ""
        self.model = ""
        #: The last event, as a client that has its frames sends it back.
        self.position = "0"
        #: The number of the attempt whose step is open; 0: none is.
        self.step = 0
        #: The kind of text that is open, or "".
        self.kind = ""
        #: Spans of reasoning of the attempt, and the id of the one that is open.
        self.reasoned = 0
        self.reasoning = ""
        #: Ids of the attempt's tool calls that have begun, by index; and those that are open.
        self.calls: dict[int, str] = {}
        self.open_calls: dict[int, str] = {}
        #: The job's name in the attempt's ids.
        self.named = ""


@dataclass(frozen=True, slots=True)
class AgUi:
    """`messages`: the run's input as a JSON array. A restart tells them again, which voids the answer so far."""

    thread_id: str
    run_id: str
    parent_run_id: str
    messages: bytes = field(repr=False)
    _state: _State = field(default_factory=_State, compare=False, repr=False)

    @property
    def stateful(self) -> bool:
        return True

    def start(self, joined: Position | None) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        """See `Format.encode`."""
        fields = event.fields()
        frames = [] if fields.get("choice") else self._frames(event.type, fields)  # a run is one answer
        bodies = [each if isinstance(each, bytes) else orjson.dumps(each) for each in frames]
        if event.seq == UNNUMBERED:
            return b"".join(b"data: %b\n\n" % body for body in bodies)
        before, after = self._state.position, str(Position(event.seq, event.epoch))
        self._state.position = after
        ids = [*(f"{before}.{number}" for number in range(1, len(bodies))), after]
        return b"".join(
            b"id: %b\ndata: %b\n\n" % (each.encode(), body) for each, body in zip(ids, bodies, strict=False)
        )

    def end(self) -> bytes:
        return b""

    def _frames(self, kind: str, fields: dict[str, Any]) -> list[Frame | bytes]:
        frames: list[Frame | bytes]
        match kind:
            case "queued":
                frames = [*self._begin(fields)]
            case "started":
                frames = [*self._step(fields["attempt"])]
            case "tool_call_delta":
                frames = [*self._tool_arguments(fields)]
            case "tool_call" | "function_call":
                frames = [*self._tool_call(fields)]
            case "restarted":
                frames = self._restart(fields)
            case "waiting":
                frames = [_custom("waiting", fields)]
            case _:
                frames = [*(self._text(kind, fields["content"]) if kind in TEXT else self._finish(kind, fields))]
        return frames

    def _run_started(self) -> Frame:
        run = {"type": "RUN_STARTED", "threadId": self.thread_id, "runId": self.run_id, "protocolVersion": VERSION}
        return {**run, "parentRunId": self.parent_run_id} if self.parent_run_id else run

    def _begin(self, fields: dict[str, Any]) -> list[Frame]:
        state = self._state
        state.job_id = state.named = fields["job_id"]
        state.model = fields["model"]
        told = {"jobId": state.job_id, "model": state.model, "createdAt": fields["created_at"]}
        return [self._run_started(), _custom("queued", told)]

    def _step(self, attempt: int) -> list[Frame]:
        self._state.step = attempt
        return [{"type": "STEP_STARTED", "stepName": f"attempt {attempt}"}] if attempt else []

    def _text(self, kind: str, text: str) -> list[Frame]:
        """Text, refusals and tool calls of an attempt are one message: models want its calls in one."""
        state, frames = self._state, []
        if not text:
            return []
        if kind != state.kind:
            frames = self._close_text()
            state.kind = kind
            frames += self._open_reasoning() if kind == "reasoning" else [self._open_text(kind)]
        if kind == "reasoning":
            return [*frames, {"type": "REASONING_MESSAGE_CONTENT", "messageId": state.reasoning, "delta": text}]
        return [*frames, {"type": "TEXT_MESSAGE_CONTENT", "messageId": f"msg_{state.named}", "delta": text}]

    def _open_text(self, kind: str) -> Frame:
        begin = {"type": "TEXT_MESSAGE_START", "messageId": f"msg_{self._state.named}", "role": "assistant"}
        return {**begin, "metadata": {OURS: {"refusal": True}}} if kind == "refusal" else begin

    def _open_reasoning(self) -> list[Frame]:
        state = self._state
        state.reasoned += 1
        state.reasoning = self._reasoning_id(state.reasoned)
        start = {"type": "REASONING_START", "messageId": state.reasoning}
        return [start, {"type": "REASONING_MESSAGE_START", "messageId": state.reasoning, "role": "reasoning"}]

    def _reasoning_id(self, number: int) -> str:
        return f"rs_{self._state.job_id}_{number}"

    def _close_text(self) -> list[Frame]:
        state = self._state
        kind, state.kind = state.kind, ""
        if kind == "reasoning":
            ended = {"type": "REASONING_MESSAGE_END", "messageId": state.reasoning}
            return [ended, {"type": "REASONING_END", "messageId": state.reasoning}]
        return [{"type": "TEXT_MESSAGE_END", "messageId": f"msg_{state.named}"}] if kind else []

    def _close(self) -> list[Frame]:
        """Ends all that is open but the step."""
        frames = self._close_text()
        frames += [{"type": "TOOL_CALL_END", "toolCallId": call} for call in self._state.open_calls.values()]
        self._state.open_calls.clear()
        return frames

    def _tool_arguments(self, fields: dict[str, Any]) -> list[Frame]:
        """Begins a call with the first piece of its arguments: its name may come in pieces before it."""
        index = fields["index"]
        if not fields["arguments"]:
            return []
        frames = [] if index in self._state.calls else self._begin_call(index, fields)
        return [*frames, _arguments(self._state.calls[index], fields["arguments"])]

    def _begin_call(self, index: int, fields: dict[str, Any]) -> list[Frame]:
        """Models leave ids out, or use one for several calls."""
        state, given = self._state, fields.get("id")
        known = given if given and given not in state.calls.values() else f"call_{state.named}_{index}"
        state.calls[index] = state.open_calls[index] = known
        begin = {"type": "TOOL_CALL_START", "toolCallId": known, "toolCallName": fields.get("name") or ""}
        return [*self._close_text(), {**begin, "parentMessageId": f"msg_{state.named}"}]

    def _tool_call(self, fields: dict[str, Any]) -> list[Frame]:
        state, index, frames = self._state, fields.get("index", -1), []
        if index not in state.calls:
            frames = self._begin_call(index, fields)
            frames.append(_arguments(state.calls[index], call_arguments(fields)))
        if (call := state.open_calls.pop(index, None)) is not None:
            # Such as a signature without which the model refuses the next turn: clients send metadata back.
            kept = {name: value for name, value in fields.items() if name not in _CALL_FIELDS}
            end: Frame = {"type": "TOOL_CALL_END", "toolCallId": call}
            frames.append({**end, "metadata": {OURS: kept}} if kept else end)
        return frames

    def _restart(self, fields: dict[str, Any]) -> list[Frame | bytes]:
        state, attempt = self._state, fields.get("attempt") or 0
        frames: list[Frame | bytes]
        if lost := fields.get("reason") == "log_lost":
            # What is open at the client is not known. This ends it all, and lets the same run begin again.
            state.kind = ""
            state.open_calls.clear()
            error = {"type": "RUN_ERROR", "message": "Redis has lost a part of the run. The run goes on."}
            frames = [{**error, "code": "log_lost"}, self._run_started()]
        else:
            frames = [*self._close()]
            if state.step:
                frames.append({"type": "STEP_FINISHED", "stepName": f"attempt {state.step}"})
        frames.append(self._snapshot(voids_reasoning=lost or state.reasoned > 0))
        told = {"attempt": attempt, "reason": fields.get("reason")}
        state.calls.clear()
        state.reasoned = 0
        state.named = f"{state.job_id}_a{attempt}" if attempt > 1 else state.job_id
        return [*frames, _custom("restarted", told), *self._step(attempt)]

    def _snapshot(self, *, voids_reasoning: bool) -> bytes:
        """Clients drop messages that a snapshot does not have, but for reasoning, if it has none at all: an empty one
        takes the place of what the lost attempt has said."""
        messages = self.messages
        if voids_reasoning:
            empty = orjson.dumps({"id": self._reasoning_id(1), "role": "reasoning", "content": ""})
            messages = b"%b,%b]" % (messages[:-1], empty)
        return b'{"type":"MESSAGES_SNAPSHOT","messages":%b}' % messages

    def _finish(self, kind: str, fields: dict[str, Any]) -> list[Frame]:
        state, frames = self._state, self._close()
        end: Frame = {"type": "RUN_FINISHED", "threadId": self.thread_id, "runId": self.run_id}
        ours = {"metrics": fields["metrics"]} if fields.get("metrics") else {}
        if kind == "failed":
            error = fields["error"]
            end = {"type": "RUN_ERROR", "message": error["message"], "code": error["code"]}
            ours["retryable"] = error.get("retryable", False)
        elif kind == "cancelled":
            end["outcome"] = {"type": "cancelled"}
            ours["by"] = fields["by"]
        else:
            end["outcome"] = {"type": "success"}
            if state.calls:
                end["outcome"]["pendingToolCallIds"] = [*state.calls.values()]
            ours["finishReason"] = fields.get("finish_reason") or "stop"
        if tokens := _tokens(fields.get("usage")):
            end["usage"] = [{"model": state.model, **tokens}]
        if state.step:
            frames.append({"type": "STEP_FINISHED", "stepName": f"attempt {state.step}"})
        return [*frames, {**end, "metadata": {OURS: ours}}]


def _custom(name: str, value: dict[str, Any]) -> Frame:
    return {"type": "CUSTOM", "name": f"{OURS}.{name}", "value": value}


def _arguments(call: str, text: str) -> Frame:
    return {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": text}


def _tokens(usage: Any) -> dict[str, int]:
    """Returns the counts alone: a client would refuse an event with another value."""
    found = camel_case_usage(usage)
    return {name: count for name, count in found.items() if type(count) is int and 0 <= count < 2**53}


class AfterFrame:
    """The cut of a client that has the frame of this id, and perhaps not all of its event's."""

    marker: Final = b""

    def __init__(self, frame_id: str) -> None:
        self._line = b"id: %b\n" % frame_id.encode()
        self.done = False

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        line = self._line
        if self.done or frames.startswith(b":"):
            return frames, False
        self.done = True  # it is among the first frames, or the log has become another one
        begin = 0 if frames.startswith(line) else frames.find(b"\n\n" + line)
        return (frames, False) if begin < 0 else (frames[frames.index(b"\n\n", begin + 2) + 2 :], False)
