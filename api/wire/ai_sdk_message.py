"""A UI message as the chunks of which a client makes it again (pure).

An answer to the results of tools continues the message of their calls. A page that is loaded anew begins an empty
message at the `start` of the stream: it gets the parts so far behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from readalong.core.sse import frame

Part = dict[str, Any]

_TEXTS: Final = frozenset({"text", "reasoning"})
#: Parts that are chunks of their own.
_WHOLE: Final = frozenset({"file", "source-url", "source-document"})


def parts_as_chunks(parts: list[Part]) -> bytes:
    """Returns the frames of these parts. Parts that no chunk makes are left out."""
    return b"".join(
        frame(orjson.dumps(chunk))
        for number, part in enumerate(parts)
        for chunk in _chunks(part, f"continued-{number}")
    )


def _chunks(part: Part, part_id: str) -> Iterator[Part]:
    kind = part["type"]
    if kind == "step-start":
        yield {"type": "start-step"}
    elif kind in _TEXTS:
        yield {"type": f"{kind}-start", "id": part_id, **_given(part, "providerMetadata")}
        yield {"type": f"{kind}-delta", "id": part_id, "delta": part.get("text", "")}
        yield {"type": f"{kind}-end", "id": part_id}
    elif kind == "dynamic-tool" or kind.startswith("tool-"):
        yield from _tool(part)
    elif kind in _WHOLE or kind.startswith("data-"):
        yield part


def _tool(part: Part) -> Iterator[Part]:
    """As pieces of input: at `tool-input-available` the page would run the tool once more."""
    dynamic = part["type"] == "dynamic-tool"
    call = _given(part, "toolCallId")
    begin = {"toolName": part.get("toolName") if dynamic else part["type"].removeprefix("tool-")}
    if dynamic:
        begin["dynamic"] = True
    if "callProviderMetadata" in part:
        begin["providerMetadata"] = part["callProviderMetadata"]
    yield {"type": "tool-input-start", **call, **begin, **_given(part, "providerExecuted", "title")}
    given = part.get("input", part.get("rawInput"))
    if given is not None:
        yield {"type": "tool-input-delta", **call, "inputTextDelta": orjson.dumps(given).decode()}
    match part.get("state"):
        case "output-available":
            yield {"type": "tool-output-available", **call, "output": part.get("output")}
        case "output-error":
            yield {"type": "tool-output-error", **call, "errorText": part.get("errorText", "")}
        case "output-denied":
            yield {"type": "tool-output-denied", **call}


def _given(part: Part, *names: str) -> Part:
    return {name: part[name] for name in names if name in part}


class Continued:
    """The cut of a client that gets `frames` behind the first chunk."""

    def __init__(self, frames: bytes) -> None:
        self._frames = frames

    def cut(self, frames: bytes) -> tuple[bytes, bool]:
        """See `Cut.cut`."""
        if not self._frames or frames.startswith(b":"):
            return frames, False
        start, end, rest = frames.partition(b"\n\n")
        shown, self._frames = start + end + self._frames + rest, b""
        return shown, False
