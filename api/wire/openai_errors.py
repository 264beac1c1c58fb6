"""Errors in OpenAI's form: what its SDKs make their exceptions of (pure)."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
#: What OpenAI says of a wrong field, by our mistake.
_CODE_OF_MISTAKE: Final = {
    "value": "invalid_value",
    "type": "invalid_type",
    "missing": "missing_required_parameter",
    "empty": "empty_array",
    "unknown": "unknown_parameter",
    "unsupported": "unsupported_parameter",
}
#: OpenAI's status, type and code for codes of ours; None: OpenAI has none. What is missing here keeps our code.
_KNOWN: Final[dict[str, tuple[int, str, str | None]]] = {
    "invalid_request": (400, _INVALID, "invalid_value"),
    "invalid_parameter": (400, _INVALID, "invalid_value"),
    "invalid_json": (400, _INVALID, None),
    "invalid_encoding": (400, _INVALID, None),
    "unsupported_media_type": (415, _INVALID, "unsupported_content_type"),
    "unauthorized": (401, _INVALID, "invalid_api_key"),
    "not_found": (404, _INVALID, None),
    "job_not_found": (404, _INVALID, None),
    "job_expired": (404, _INVALID, None),
    "queue_full": (429, "requests", "rate_limit_exceeded"),
    "not_cancellable": (400, _INVALID, None),
    "thread_not_found": (404, _INVALID, None),
    # The ends of a job.
    "cancelled": (409, _INVALID, "cancelled"),
    "model_bad_request": (400, _INVALID, "model_bad_request"),
    "model_not_found": (404, _INVALID, "model_not_found"),
    "model_rate_limited": (429, "requests", "rate_limit_exceeded"),
    "model_unauthorized": (502, _SERVER, "model_unauthorized"),
    "model_redirected": (502, _SERVER, "model_redirected"),
    "model_answer_too_large": (502, _SERVER, "model_answer_too_large"),
    "model_error": (502, _SERVER, "model_error"),
    "model_cut": (502, _SERVER, "model_cut"),
    "model_malformed": (502, _SERVER, "model_malformed"),
    "model_unreachable": (503, _SERVER, "model_unreachable"),
    "worker_lost": (503, _SERVER, "worker_lost"),
    "worker_stopped": (503, _SERVER, "worker_stopped"),
    "redis_outage": (503, _SERVER, "redis_outage"),
    "model_timeout": (504, _SERVER, "model_timeout"),
    "model_stalled": (504, _SERVER, "model_stalled"),
    "job_timeout": (504, _SERVER, "job_timeout"),
    "deadline_exceeded": (504, _SERVER, "deadline_exceeded"),
}
#: Codes in whose place a client gets the model's own, as from the model itself.
_MODELS_OWN: Final = frozenset({"model_bad_request", "model_rate_limited"})
#: A number in the path of a field.
_INDEX: Final = re.compile(r"\.(\d+)(?=\.|$)")


class OpenAIError(NamedTuple):
    """`status`: of the response; an error in a stream has none."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None

    def body(self, **more: Any) -> dict[str, Any]:
        """Returns the body. `more`: further fields of the error."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code, **more}
        return {"error": error}


def openai_error(
    code: str,
    message: str,
    *,
    status: int = 500,
    field: str | None = None,
    mistake: str = "value",
    param: str | None = None,
    model_code: str | None = None,
) -> OpenAIError:
    """Returns the error for one of ours. `status`: ours, for a code that OpenAI does not know. `param`, `model_code`:
    what the model has said of it."""
    if status == 422:  # OpenAI has no other status for a client's mistake
        status = 400
    known_status, kind, known_code = _KNOWN.get(code, (status, _SERVER if status >= 500 else _INVALID, code))
    if code == "invalid_request":
        known_code = _CODE_OF_MISTAKE[mistake]
    if field is not None and field != "body":
        param = param_of(field)
    if code in _MODELS_OWN:
        known_code = model_code or known_code
    if code == "model_not_found":
        param = "model"
    return OpenAIError(known_status, kind, known_code, message, param)


def param_of(field: str) -> str:
    """Returns the path of a field as OpenAI writes it: `messages[0].role`."""
    return _INDEX.sub(r"[\1]", field)
