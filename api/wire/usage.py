"""The model's usage by the names of formats that are not OpenAI's."""

from __future__ import annotations

from typing import Any


def camel_case_usage(usage: Any) -> dict[str, Any]:
    """Returns what of OpenAI's usage has a name in the AI SDK and in AG-UI, which share them; {} for no usage."""
    if not isinstance(usage, dict):
        return {}
    read, said = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    found = {
        "inputTokens": usage.get("prompt_tokens"),
        "outputTokens": usage.get("completion_tokens"),
        "totalTokens": usage.get("total_tokens"),
        "cachedInputTokens": read.get("cached_tokens") if isinstance(read, dict) else None,
        "reasoningTokens": said.get("reasoning_tokens") if isinstance(said, dict) else None,
    }
    return {name: value for name, value in found.items() if value is not None}
