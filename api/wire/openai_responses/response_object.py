"""The Response object, of JSON bodies and of events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from readalong.api.wire.openai_responses.items import json_list

#: The fields of a request that its response repeats, and their values if the request does not have them.
ECHOED: Final[dict[str, Any]] = {
    "background": False,
    "conversation": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
#: OpenAI's codes of a failed response, for the codes of a failed job. Others are `server_error`.
_ERROR_CODES: Final = {"model_rate_limited": "rate_limit_exceeded", "model_bad_request": "invalid_prompt"}


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """What of a response is known before its first event. `created_at`: milliseconds. `echo`: the fields that repeat
    the request, a JSON object."""

    job_id: str
    model: str
    created_at: int
    echo: bytes

    @property
    def id(self) -> str:
        return response_id(self.job_id)

    def json(
        self,
        status: str,
        output: Sequence[bytes],
        *,
        usage: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        reason: str | None = None,
        seconds: float | None = None,
    ) -> bytes:
        """Returns the object. `reason`: why it is incomplete. `seconds`: how long a completed one took."""
        created = self.created_at // 1000
        fields = {
            "id": self.id,
            "object": "response",
            "created_at": created,
            "status": status,
            "completed_at": None if seconds is None else max(created, int(self.created_at / 1000 + seconds)),
            "error": None if error is None else _error(error),
            "incomplete_details": None if reason is None else {"reason": reason},
            "model": self.model,
            "output": orjson.Fragment(json_list([*output])),
            "usage": None if usage is None else _usage(usage),
        }
        return orjson.dumps(fields)[:-1] + b"," + self.echo[1:]


def response_id(job_id: str) -> str:
    """Returns the id of a job's response."""
    return f"resp_{job_id}"


def echo_of(request: dict[str, Any]) -> bytes:
    """Returns the fields that repeat the request, as JSON; `{}`: those of a job that no Responses request made."""
    return orjson.dumps({name: request.get(name, default) for name, default in ECHOED.items()})


def _error(error: dict[str, Any]) -> dict[str, Any]:
    code = error.get("code")
    return {"code": _ERROR_CODES.get(str(code), "server_error"), "message": error.get("message"), "type": code}


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    read, written = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": _count(read, "cached_tokens"),
            "cache_write_tokens": _count(read, "cache_write_tokens"),
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": _count(written, "reasoning_tokens")},
        "total_tokens": _count(usage, "total_tokens") or prompt + completion,
    }


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) else 0
