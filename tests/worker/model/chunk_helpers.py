"""Chunks as models send them, folded in one go."""

from __future__ import annotations

from typing import Any

import orjson

from readalong.core.events import NewEvent
from readalong.worker.model.chunk_accumulator import ChunkAccumulator


def chunk(delta: Any = None, *, index: Any = 0, finish: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk with one choice; `more` are fields of the chunk itself."""
    return {"choices": [{"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}], **more}


def add(chunks: ChunkAccumulator, *given: Any) -> list[NewEvent]:
    """The drafts of some chunks, each an object or bytes."""
    drafts: list[NewEvent] = []
    for one in given:
        drafts += chunks.add(one if isinstance(one, bytes) else orjson.dumps(one))
    return drafts


def fold(*given: Any) -> tuple[list[NewEvent], ChunkAccumulator]:
    """All drafts of a stream of chunks, those of its end too."""
    chunks = ChunkAccumulator()
    drafts = add(chunks, *given)
    return drafts + chunks.close(), chunks


def call(index: Any = None, id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    """One fragment of `tool_calls`, with only the fields that are given."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    fragment = {key: value for key, value in (("index", index), ("id", id)) if value is not None}
    return {**fragment, "function": function} if function else fragment


def calls(*fragments: Any) -> dict[str, Any]:
    """A chunk with fragments of tool calls."""
    return chunk({"tool_calls": list(fragments)})
