"""Builds chunks as models send them, and accumulates them."""

from __future__ import annotations

from typing import Any

import orjson

from readalong.core.events import NewEvent
from readalong.worker.model.chunks.accumulator import ChunkAccumulator


def chunk(delta: Any = None, *, index: Any = 0, finish: Any = None, **more: Any) -> dict[str, Any]:
    """Returns a chunk with one choice; `more` are fields of the chunk itself."""
    return {"choices": [{"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}], **more}


def add(chunks: ChunkAccumulator, *given: Any) -> list[NewEvent]:
    """Returns the events of some chunks, each an object or bytes."""
    events: list[NewEvent] = []
    for one in given:
        events += chunks.add(one if isinstance(one, bytes) else orjson.dumps(one))
    return events


def accumulate(*given: Any) -> tuple[list[NewEvent], ChunkAccumulator]:
    """Returns all events of a stream of chunks, with the events of its end."""
    chunks = ChunkAccumulator()
    events = add(chunks, *given)
    return events + chunks.close(), chunks


def call(index: Any = None, id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    """Returns one fragment of `tool_calls`, with only the fields that are given."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fragment = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {**fragment, "function": function} if function else fragment


def calls(*fragments: Any) -> dict[str, Any]:
    """Returns a chunk with fragments of tool calls."""
    return chunk({"tool_calls": list(fragments)})
