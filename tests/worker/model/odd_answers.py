"""Responses of model servers, piece by piece, with the expected result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

HEAD: Final = b"HTTP/1.1 %b\r\nConnection: close\r\n"
#: A step at which the server waits until its client has disconnected.
HOLD: Final = b""


@dataclass(frozen=True)
class Oddity:
    """One response, and the expected result."""

    name: str
    #: The pieces, each written by itself.
    pieces: list[bytes]
    end: str = "done"
    content: str = "Owls hoot"
    #: Name and arguments of each call; a custom tool has an input in place of arguments.
    calls: tuple[tuple[str | None, Any], ...] = ()
    #: Further texts in the log, in this order, each once.
    keeps: tuple[str, ...] = ()
    reasoning: str = ""
    #: A part of the error's message, its code, and whether another try may help.
    says: str = ""
    code: str = "model_error"
    may_help: bool | None = None
    usage: dict[str, Any] | None = None


def head(kind: str = "text/event-stream", status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    lines += [f"Content-Type: {kind}\r\n"] if kind else []
    return HEAD % status.encode() + "".join(lines).encode() + b"\r\n"


def data(value: Any) -> bytes:
    return b"data: %b\n\n" % (value if isinstance(value, bytes) else orjson.dumps(value))


def chunk(delta: Any = None, finish: Any = None, *, index: Any = 0, **more: Any) -> dict[str, Any]:
    """`more` are fields of the choice."""
    return {"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish, **more}]}


def say(text: str, **more: Any) -> dict[str, Any]:
    return chunk({"content": text}, **more)


def call(*fragments: Any, finish: Any = None) -> dict[str, Any]:
    return chunk({"tool_calls": list(fragments)}, finish)


def part(index: Any = None, id: Any = None, name: Any = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """Returns a fragment of a call, without the fields that are None."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    outer = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {**outer, **more, **({"function": function} if function else {})}


def sse(name: str, *parts: Any, kind: str = "text/event-stream", **expected: Any) -> Oddity:
    """Returns a response whose body is these chunks, or raw bytes."""
    pieces = [one if isinstance(one, bytes) else data(one) for one in parts]
    return Oddity(name, [head(kind), *pieces], **expected)


def calling(name: str, *parts: Any, calls: Any = (("seek", {"q": 1}),), **expected: Any) -> Oddity:
    return sse(name, *parts, ENDS, DONE, content="", calls=calls, **expected)


def whole(name: str, value: Any, kind: str = "application/json", status: str = "200 OK", **expected: Any) -> Oddity:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return Oddity(name, [head(kind, status), body], **expected)


def failed(says: str = "", code: str = "model_error", content: str = "", **more: Any) -> dict[str, Any]:
    return {"end": "failed", "says": says, "code": code, "content": content, **more}


DONE = b"data: [DONE]\n\n"
OWLS, HOOT, STOP, ENDS = say("Owls"), say(" hoot"), chunk(None, "stop"), chunk(None, "tool_calls")
ALL = b"".join(map(data, (OWLS, HOOT, STOP))) + DONE
LINES = b"".join(orjson.dumps(one) + b"\n" for one in (OWLS, HOOT, STOP))
MESSAGE = {"role": "assistant", "content": "Owls hoot"}
ANSWER = {"object": "chat.completion", "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}
TWO = (("seek", {"q": 1}), ("seek", {"q": 2}))
NOTHING = failed(code="model_malformed")
CUT = failed(code="model_cut")


def both(delta: Any, message: Any, finish: Any = None, index: int = 0) -> dict[str, Any]:
    return chunk(delta, finish, index=index, message=message)


def only(message: Any, finish: Any = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
