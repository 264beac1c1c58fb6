"""Errors that a Responses stream reports, as errors of the job (pure)."""

from __future__ import annotations

from typing import Any, Final

from readalong.core.errors import ModelError
from readalong.worker.model.chunks.error_messages import reported_error

#: Status, the job's code, and whether another try may help, as of the HTTP response that would say the same.
_CODES: Final = {
    "rate_limit_exceeded": (429, "model_rate_limited", True),
    "insufficient_quota": (429, "model_rate_limited", True),
    "server_error": (500, "model_error", True),
    "vector_store_timeout": (0, "model_timeout", True),
    "model_not_found": (404, "model_not_found", False),
    "invalid_api_key": (401, "model_unauthorized", False),
    "context_length_exceeded": (400, "model_bad_request", False),
}
#: Parts of the codes of what is wrong with the request: `invalid_prompt`, `image_too_large`, `bio_policy` and so on.
_REQUEST_FAULTS: Final = ("invalid_", "image", "policy")


def response_error(error: Any) -> ModelError:
    """Returns the error of a failed response or of an `error` event."""
    found = reported_error(error)
    name = error.get("code") if isinstance(error, dict) else None
    if not isinstance(name, str):
        return found
    known = _CODES.get(name)
    if known is None:
        if not any(part in name for part in _REQUEST_FAULTS):
            return found
        known = (400, "model_bad_request", False)
    status, code, retryable = known
    quota = name == "insufficient_quota"
    message = "The model refused our credentials." if status == 401 else found.message
    param, model_code = (None, None) if status == 401 else (found.param, found.model_code)
    return ModelError(
        code,
        message,
        retryable=retryable,
        status=status,
        away=status == 429 and not quota,
        refuses=quota or status == 401,
        param=param,
        model_code=model_code,
    )


def unsupported(what: str) -> ModelError:
    """Returns the error of a request that says what the Responses API cannot say."""
    message = f"The model is asked by the Responses API, which does not support {what}."
    return ModelError("model_bad_request", message, retryable=False)
