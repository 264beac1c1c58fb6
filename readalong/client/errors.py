"""The errors of the client library.

ReadalongError              `code`, `message`, `retryable`: whether the same call may succeed later
└── ClientError
    ├── ApiError            the API answered with an error: `status`, `code`, `field`, `retry_after`
    ├── ApiConnectionError  no connection, or connections that break, for longer than the limit
    ├── ProtocolError       what answered is not a readalong API
    ├── GenerationFailed    the job failed while its text was read: `code` is the job's
    ├── GenerationRestarted the job starts over after some of its text was handed out: `code` is the reason
    └── MisuseError         used after close, by two threads or tasks at once, or with what cannot be sent
"""

from __future__ import annotations

from readalong.core.errors import ReadalongError


class ClientError(ReadalongError):
    """The root of what a client raises."""

    code = "client_error"


class ApiError(ClientError):
    """The API's error response. `field` names the wrong part of the request, where one part is wrong."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        retryable: bool,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.status = status
        self.code = code
        self.retryable = retryable
        self.field = field


class ApiConnectionError(ClientError):
    """`refused`: no connection was made at all, as with a wrong URL."""

    code = "connection_failed"
    retryable = True

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class ProtocolError(ClientError):
    """The response is not one of readalong's, such as the page of a proxy."""

    code = "protocol_error"

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class GenerationFailed(ClientError):
    """The job's own error, as its `failed` event has it."""

    def __init__(self, message: str, *, code: str, retryable: bool) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class GenerationRestarted(ClientError):
    """The text so far is void, and the reader has no `on_restart` that would discard it."""

    retryable = True

    def __init__(self, reason: str) -> None:
        super().__init__(f"The generation starts over ({reason}): discard its text so far; on_restart=… goes on.")
        self.code = reason


class MisuseError(ClientError):
    """The caller's mistake."""

    code = "misuse"
