"""The first and the last chunk of a response: what its object says besides its output (pure)."""

from __future__ import annotations

from typing import Any, Final

from readalong.core.events import ITEMS

#: Why a response is incomplete, as a finish reason.
_REASONS: Final = {"max_output_tokens": "length", "content_filter": "content_filter"}
#: Fields that repeat the request, or are read.
_KNOWN: Final = frozenset(
    {
        *("id", "object", "created_at", "completed_at", "status", "error", "model", "output", "output_text", "usage"),
        *("background", "conversation", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "prompt"),
        *("parallel_tool_calls", "previous_response_id", "prompt_cache_key", "prompt_cache_retention", "reasoning"),
        *("safety_identifier", "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p"),
        *("truncation", "user"),
    }
)
_USAGE: Final = {
    "input_tokens": "prompt_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens": "completion_tokens",
    "output_tokens_details": "completion_tokens_details",
}


def head_chunk(response: dict[str, Any]) -> dict[str, Any]:
    """Returns the chunk that names the response."""
    return {
        "id": response.get("id"),
        "created": response.get("created_at"),
        "model": response.get("model"),
        "choices": [],
    }


def end_chunk(response: dict[str, Any], status: str, *, called: bool, kept: int) -> dict[str, Any]:
    """Returns the chunk with the finish reason and the usage. `called`: it calls tools. `kept`: whole items in `extra`
    before it, whose number the job's end says: its other fields do not repeat them."""
    finish = "tool_calls" if called else "stop"
    details = response.get("incomplete_details")
    if status == "incomplete":
        reason = details.get("reason") if isinstance(details, dict) else None
        finish = _REASONS.get(str(reason), "length")
    chunk = {name: value for name, value in response.items() if name not in _KNOWN}
    if kept:
        chunk[ITEMS] = kept
    chunk["choices"] = [{"index": 0, "delta": {}, "finish_reason": finish}]
    usage = response.get("usage")
    if isinstance(usage, dict):
        chunk["usage"] = {_USAGE.get(name, name): value for name, value in usage.items()}
    return chunk
