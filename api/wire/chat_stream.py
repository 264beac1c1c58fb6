"""The format of `POST /chat/stream`: pieces of content in data lines, then `[DONE]`; no ids and no event names.

Most front ends append the `content` of each line to what they show. So each line has a `content`. It is empty for all
but text of the first choice.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from readalong.core.events import Event
from readalong.core.position import Position
from readalong.core.sse import frame

_DONE: Final = frame(b"[DONE]")
#: Events that are shown whole under their own name.
_WHOLE: Final = frozenset({"tool_call", "function_call", "restarted", "waiting"})
#: The text of each is a field of this name.
_TEXTS: Final = {"content": "content", "reasoning": "reasoning", "refusal": "refusal"}

_TEXT: Final = re.compile(rb'^data: \{"content":"[^"]', re.MULTILINE)
#: How the line of a restart begins, and nothing else: outside of strings JSON has no blank here.
RESTARTED: Final = b'data: {"content":"","restarted":'


class ChatStream:
    """`{"content": …}` for each piece; anything else under a name of its own, beside an empty `content`."""

    stateful = False

    def start(self, joined: Position | None) -> bytes:
        return b""

    def encode(self, event: Event) -> bytes:
        shown: dict[str, Any] | None = None
        if (name := _TEXTS.get(event.type)) is not None:
            fields = event.fields()
            if choice := fields.get("choice"):
                shown = {"choice": {"index": choice, name: fields["content"]}}
            else:
                shown = {name: fields["content"]}
        elif event.type in _WHOLE:
            shown = {event.type: event.fields()}
        elif event.type == "failed":
            shown = {"error": event.fields()["error"]}
        elif event.type == "cancelled":
            shown = {"cancelled": {"by": event.fields()["by"]}}
        return b"" if shown is None else frame(orjson.dumps({"content": "", **shown}))

    def end(self) -> bytes:
        return _DONE


chat_stream: Final = ChatStream()


class OneText:
    """The cut that keeps a second text from a client that would append it to the first."""

    done: Final = False

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        #: b"" until the client has got some text.
        self.marker = b""

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        restarted = frames.rfind(RESTARTED)
        if restarted >= 0 and not self.marker:
            # The frames before it are void, and the client has got no text of them.
            frames = frames[restarted:]
        elif restarted >= 0:
            begin = frames.index(RESTARTED)
            line = frames[begin + len(RESTARTED) : frames.index(b"\n", begin) - 1]
            return frames[:begin] + self._error(orjson.loads(line)) + _DONE, True
        if not self.marker and _TEXT.search(frames) is not None:
            self.marker = RESTARTED
        return frames, False

    def _error(self, restarted: dict[str, Any]) -> bytes:
        error = {
            "code": restarted.get("reason", "worker_lost"),
            "message": f"Job {self._job_id} begins again; the text so far is void.",
            "retryable": True,
            "job_id": self._job_id,
        }
        return frame(orjson.dumps({"content": "", "error": error}))
