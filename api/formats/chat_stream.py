"""The format of `POST /chat/stream`: pieces of content in data lines, then `[DONE]`; no ids and no event names."""

from __future__ import annotations

from typing import Any, Final

import orjson

from readalong.events import Event
from readalong.sse import frame

_DONE: Final = frame(b"[DONE]")
#: Events that are shown whole under their own name.
_WHOLE: Final = frozenset({"tool_call", "function_call", "restarted"})


def chat_stream(event: Event) -> bytes:
    """`{"content": …}` for each piece; tool and function calls, a restart and a failure under their names."""
    shown: dict[str, Any] | None = None
    if event.type == "content":
        fields = event.fields()
        shown = {name: fields[name] for name in ("content", "choice") if name in fields}
    elif event.type in ("reasoning", "refusal"):
        shown = {event.type: event.fields()["content"]}
    elif event.type == "waiting":
        shown = {"content": "", "waiting": event.fields()}
    elif event.type in _WHOLE:
        shown = {event.type: event.fields()}
    elif event.type == "failed":
        shown = {"error": event.fields()["error"]}
    elif event.type == "cancelled":
        shown = {"cancelled": {"by": event.fields()["by"]}}
    said = b"" if shown is None else frame(orjson.dumps(shown))
    return said + _DONE if event.terminal else said
