"""The events of a stream without a server, from chunks that the demo model does not send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from readalong.client import Reasoning, ToolCall, ToolCallDelta
from readalong.client.chunk_events import ChunkEvents
from readalong.client.events import Event


def events(*deltas: dict[str, Any]) -> list[Event]:
    """Returns the events of one answer but for its begin."""

    def read() -> Iterator[Event]:
        chunks = ChunkEvents("demo")
        for delta in deltas:
            yield from chunks.read({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield from chunks.done()

    return list(read())


def test_a_custom_tools_input_is_text_as_in_a_job() -> None:
    first = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "shell", "input": "ls "}}
    begun, more, whole, _ = events({"tool_calls": [first]}, {"tool_calls": [{"index": 0, "custom": {"input": "-l"}}]})
    assert isinstance(begun, ToolCallDelta)
    assert isinstance(more, ToolCallDelta)
    assert isinstance(whole, ToolCall)
    assert (begun.name, begun.arguments, more.arguments) == ("shell", "ls ", "-l")
    assert begun.fields["tool_type"] == whole.fields["tool_type"] == "custom"
    assert (whole.name, whole.input, whole.arguments) == ("shell", "ls -l", None)


def test_reasoning_that_a_server_sends_under_both_names_is_read_once() -> None:
    [thought, _] = events({"reasoning_content": "Hm.", "reasoning": "Hm."})
    assert isinstance(thought, Reasoning)
    assert thought.content == "Hm."
