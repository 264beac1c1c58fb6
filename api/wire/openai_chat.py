"""OpenAI's chat completion chunks: the format of a streaming `POST /v1/chat/completions`, and what one client gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from readalong.api.wire.openai_call_order import CallOrder
from readalong.api.wire.openai_errors import openai_error
from readalong.api.wire.openai_fields import (
    REASONING_FIELD,
    call_arguments,
    default_finish_reason,
    extras_of,
)
from readalong.core.events import Event
from readalong.core.position import Position
from readalong.core.sse import frame

_DONE: Final = frame(b"[DONE]")
#: How the frame of a restart begins, and nothing else: inside JSON a quote has a backslash. No client gets it.
_RESTARTED: Final = b'data: {"restarted":'
_LINE_ENDS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
_TEXT_TAIL: Final = b'},"logprobs":null,"finish_reason":null}]'


class ChatParameters(NamedTuple):
    """What a response says of itself: `created` in seconds, the `choices` that its request asks for."""

    id: str
    created: int
    model: str
    choices: int = 1
    include_usage: bool = False


class OpenAIChat:
    """Chunks of one answer. The first event of the answer begins all choices, and the terminal event ends them.

    The state is what a chunk must not repeat (roles, ids and names of calls) and what each chunk repeats (the model's
    own name and fingerprint).
    """

    stateful = True

    def __init__(self, parameters: ChatParameters) -> None:
        self._parameters = parameters
        self._restart()

    def start(self, joined: Position | None) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        kind, fields = event.type, event.fields()
        shown = b""
        if kind == "content" and self._begun and len(fields) == 1:
            shown = b"%b%b%b" % (self._text_head, orjson.dumps(fields["content"]), self._text_tail)
        elif kind in ("content", "reasoning", "refusal"):
            shown = self._encode_text(kind, fields)
        elif kind == "tool_call_delta":
            order = self._orders.setdefault(fields.get("choice", 0), CallOrder())
            shown = b"" if order.take(fields) is None else self._encode_call(fields)
        elif kind == "tool_call":  # all has been said
            shown = self._encode_held()
        elif kind == "function_call":
            call = {"name": fields.get("name"), "arguments": call_arguments(fields)}
            shown = self._chunk(fields, {"function_call": call})
        elif kind == "restarted":
            self._restart()
            shown = b"%b%b}\n\n" % (_RESTARTED, orjson.dumps(fields))
        elif kind == "done":
            shown = self._encode_end(fields)
        elif kind == "failed":
            shown = _failure_frame(fields["error"])
        elif kind == "cancelled":
            shown = _error_frame("cancelled", "The job was cancelled.")
        return _escaped(shown)

    def end(self) -> bytes:
        return _DONE

    def _restart(self) -> None:
        """Goes to the state before an answer."""
        self._begun: set[int] = set()
        #: The name of each call so far, by choice and index.
        self._calls: dict[tuple[int, int], str] = {}
        self._orders: dict[int, CallOrder] = {}
        self._reasoning = REASONING_FIELD
        #: Fields of the whole answer that each chunk repeats.
        self._common: dict[str, Any] = {}
        self._set_heads()

    def _set_heads(self) -> None:
        id_, created, model, _, include_usage = self._parameters
        head = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": model, **self._common}
        self._head = b'data: %b,"choices":' % orjson.dumps(head)[:-1]
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._text_head = self._head + b'[{"index":0,"delta":{"content":'
        self._text_tail = _TEXT_TAIL + self._tail

    def _encode_text(self, kind: str, fields: dict[str, Any]) -> bytes:
        if kind == "reasoning":
            self._reasoning = kind = fields.get("field", self._reasoning)
        return self._chunk(fields, {kind: fields["content"]}, fields.get("logprobs"))

    def _encode_call(self, fields: dict[str, Any]) -> bytes:
        place = fields.get("choice", 0), fields["index"]
        said, name = self._calls.get(place), fields.get("name") or ""
        kind = fields.get("tool_type", "function")
        inner: dict[str, Any] = {}
        # A client appends each piece of a name. One that is no longer a continuation cannot be told.
        if name != said and name.startswith(said or ""):
            inner["name"] = name[len(said or "") :]
            self._calls[place] = name
        inner["input" if kind == "custom" else "arguments"] = fields["arguments"]
        call: dict[str, Any] = {"index": fields["index"]}
        if said is None:
            call |= {"id": fields.get("id"), "type": kind}
            self._calls[place] = name
        known = ("index", "id", "name", "arguments", "tool_type", "choice", "extra")
        more = {field: value for field, value in fields.items() if field not in known}
        call[kind] = inner | more.pop("function", {})
        return self._chunk(fields, {"tool_calls": [call | more]})

    def _encode_held(self) -> bytes:
        held = [fields for order in self._orders.values() for fields in order.take_held()]
        return b"".join(self._encode_call(fields) for fields in held)

    def _encode_end(self, fields: dict[str, Any]) -> bytes:
        reason = fields.get("finish_reason") or default_finish_reason(fields)
        ends = {0: reason}
        for other in fields.get("choices", ()):
            ends[other["choice"]] = other.get("finish_reason") or "stop"
        frames, last = self._encode_held(), max(ends)
        for index, reason in sorted(ends.items()):
            # The extras of the whole answer go with the last choice.
            frames += self._chunk({"choice": index, "extra": _part(fields, index, last)}, {}, finish_reason=reason)
        if self._parameters.include_usage and fields.get("usage") is not None:
            frames += b'%b[],"usage":%b}\n\n' % (self._head, orjson.dumps(fields["usage"]))
        return frames

    def _chunk(
        self,
        fields: dict[str, Any],
        delta: dict[str, Any],
        logprobs: Any = None,
        *,
        finish_reason: str | None = None,
    ) -> bytes:
        """Returns the chunk of an event with this delta, behind those that begin its choices."""
        index: int = fields.get("choice", 0)
        own = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        choices = {index: own}
        parts: dict[int, dict[str, Any]] = {}
        once: dict[str, Any] = {}
        for extra in extras_of(fields):
            if extra.choice is None:
                self._add_common(once, extra.name, extra.value)
                continue
            choice = choices.setdefault(extra.choice, _empty(extra.choice))
            place = choice["delta"] if extra.in_delta else choice
            if place.get(extra.name) and extra.in_delta:
                # Parts beside the text of the same field.
                parts.setdefault(extra.choice, {})[extra.name] = extra.value
            else:
                place[extra.name] = extra.value
        begin = b"".join(self._begin(each) for each in sorted({*choices, *range(self._parameters.choices)}))
        frames = begin + self._frame([choices[each] for each in sorted(choices)], once)
        if parts:
            frames += self._frame([{**_empty(each), "delta": parts[each]} for each in sorted(parts)], {})
        return frames

    def _begin(self, index: int) -> bytes:
        """Returns the chunk with the role of a choice that has not begun."""
        if index in self._begun:
            return b""
        self._begun.add(index)
        return self._frame([{**_empty(index), "delta": {"role": "assistant", "content": ""}}], {})

    def _frame(self, choices: list[dict[str, Any]], once: dict[str, Any]) -> bytes:
        more = b"," + orjson.dumps(once)[1:-1] if once else b""
        return b"%b%b%b%b" % (self._head, orjson.dumps(choices), more, self._tail)

    def _add_common(self, once: dict[str, Any], name: str, value: Any) -> None:
        """A model repeats the short fields of an answer in each chunk, and the log does not."""
        if isinstance(value, dict | list):
            once[name] = value
        else:
            self._common[name] = value
            self._set_heads()


@lru_cache(maxsize=4096)
def openai_chat(parameters: ChatParameters) -> OpenAIChat:
    """Returns the format in its first state: the same object for the same parameters, so that the fan-out shares its
    bytes. Equality by the parameters would call Python code for each lookup."""
    return OpenAIChat(parameters)


def _escaped(frames: bytes) -> bytes:
    """Returns the frames with the line ends of Unicode escaped: clients that read by httpx's `iter_lines` would cut the
    JSON there."""
    for raw, escaped in _LINE_ENDS:
        if raw in frames:
            frames = frames.replace(raw, escaped)
    return frames


def _empty(index: int) -> dict[str, Any]:
    return {"index": index, "delta": {}, "logprobs": None, "finish_reason": None}


def _part(fields: dict[str, Any], index: int, last: int) -> dict[str, Any]:
    """Returns the part of the last event's `extra` that belongs to the chunk of this choice."""
    begins = f"choices.{index}."
    return {
        path: value
        for path, value in (fields.get("extra") or {}).items()
        if path.startswith(begins) or (index == last and not path.startswith("choices."))
    }


def _error_frame(code: str, message: str, **more: str) -> bytes:
    return frame(orjson.dumps(openai_error(code, message).body(**more)))


def _failure_frame(error: dict[str, Any]) -> bytes:
    said = openai_error(error["code"], error["message"], param=error.get("param"), model_code=error.get("model_code"))
    return frame(orjson.dumps(said.body()))


class OneAnswer:
    """The cut that keeps a second answer from a client that would append it to the first.

    Before its first chunk a client does not hear of a restart. Behind it a restart ends the stream by an error that
    names the job and the path where it goes on.
    """

    done: Final = False

    def __init__(self, job_id: str, events: str, on_answer: Callable[[], None]) -> None:
        """`events`: the path of the job's events. `on_answer` is called once, when the answer begins."""
        self._job_id = job_id
        self._events = events
        self._on_answer = on_answer
        #: b"" until the answer has begun.
        self.marker = b""

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        restarted = frames.rfind(_RESTARTED)
        if restarted >= 0 and not self.marker:
            # What was said before is void, and the client has heard none of it.
            frames = frames[frames.index(b"\n\n", restarted) + 2 :]
        elif restarted >= 0:
            return frames[: frames.index(_RESTARTED)] + self._error() + _DONE, True
        if frames and not self.marker and not frames.startswith(b":"):
            self.marker = _RESTARTED
            self._on_answer()
        return frames, False

    @property
    def farewell(self) -> bytes:
        """What the client gets if its stream is closed before its end, since the process stops: to the SDKs a stream
        that ends without an error is a whole answer."""
        message = f"The stream broke off before its end. Job {self._job_id} is watched at {self._events}."
        return _error_frame("interrupted", message, job_id=self._job_id, events=self._events) + _DONE

    def _error(self) -> bytes:
        message = f"Job {self._job_id} begins again, and the text so far is void. It goes on at {self._events}."
        return _error_frame("restarted", message, job_id=self._job_id, events=self._events)
