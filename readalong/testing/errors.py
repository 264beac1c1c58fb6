"""Error responses, in OpenAI's format."""

from collections.abc import Mapping

import orjson


class ApiError(Exception):
    """An error response: its HTTP status, OpenAI's error object and extra headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Returns `{"error": {"message", "type", "param", "code"}}` as JSON."""
        return error_body(self.message, self.kind, self.param, self.code)


def error_body(message: str, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """Returns OpenAI's error object as JSON. `demo-error` sends one in mid-stream, too."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Returns a 400 that names the invalid field."""
    return ApiError(400, message, param=param, code=code)
