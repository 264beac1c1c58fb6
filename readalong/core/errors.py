"""Errors, each with a stable `code` and whether trying again may help.

    ReadalongError
    ├── InvalidRequest          the client's body, parameter or position is wrong
    ├── JobNotFound             no such job
    │   └── JobExpired          there was one; its retention is over
    ├── ThreadNotFound          no such thread, or no such entry of it
    ├── ThreadBusy              a turn of the thread runs, and the new turn's policy is `reject`
    ├── ThreadFull              the thread has as many entries, bytes or waiting turns as it may have
    ├── ModelNotListed          no such model in the list of models
    ├── IdempotencyConflict     the same Idempotency-Key with another body
    ├── NotRetryable            the job cannot be submitted once more
    ├── QueueFull               as many jobs wait as the settings allow
    ├── StoreUnavailable        Redis is away, loading, full or read-only
    ├── StoreRefused            Redis refuses a command: a right is missing, or a key is broken
    ├── UnknownSchema           another version wrote this job
    ├── BrokenJob               what Redis holds of this job cannot be read
    ├── JobFailed               the job ended without an answer, and its client waits for one
    ├── Stopping                this process stops; another one serves
    ├── Fenced                  a newer attempt writes this log, or the job has ended or is gone
    ├── ModelError              the model refused, failed or broke off
    └── BadSettings             a setting that cannot be used

Redis's, the model's and arq's own errors are translated at the edge: `readalong.redis.client`,
`readalong.worker.model.openai.provider`.
"""

from __future__ import annotations

from collections.abc import Callable


class ReadalongError(Exception):
    """The root. `code` is stable and public; `retryable` says whether the same call may succeed later."""

    code = "error"
    retryable = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: Seconds after which trying again makes sense, where that is known.
        self.retry_after = retry_after


class InvalidRequest(ReadalongError):
    """The client's mistake. `field` is the path of the part that is wrong, such as `messages.0.role`."""

    def __init__(
        self, message: str, *, code: str = "invalid_request", field: str | None = None, mistake: str = "value"
    ) -> None:
        """`mistake`: what is wrong with the field: `value`, `type`, `missing`, `empty`, `unknown`, or `unsupported`."""
        super().__init__(message)
        self.code = code
        self.field = field
        self.mistake = mistake


class JobNotFound(ReadalongError):
    """No such job, or none that the caller may see."""

    code = "job_not_found"


class JobExpired(JobNotFound):
    """The job's retention is over."""

    code = "job_expired"


class ThreadNotFound(ReadalongError):
    """No such thread, or no such entry of it."""

    code = "thread_not_found"


class ThreadBusy(ReadalongError):
    """`job_id`: the job whose turn runs. Not retryable: a repeat would be refused until that job ends."""

    code = "thread_busy"

    def __init__(self, message: str, *, job_id: str = "") -> None:
        super().__init__(message)
        self.job_id = job_id


class ThreadFull(ReadalongError):
    """The thread has reached a limit, which the message names."""

    code = "thread_full"


class ModelNotListed(ReadalongError):
    """The list of models does not have this one."""

    code = "model_not_found"


class IdempotencyConflict(ReadalongError):
    """The Idempotency-Key was used with another body."""

    code = "idempotency_conflict"


class QueueFull(ReadalongError):
    """Too many jobs wait, or too many bytes of their requests."""

    code = "queue_full"
    retryable = True


class StoreUnavailable(ReadalongError):
    """Redis is away, loading, full or read-only."""

    code = "redis_unavailable"
    retryable = True


class StoreRefused(ReadalongError):
    """Redis refuses a command, and would again. `broken_key`: a key holds what readalong did not write."""

    code = "redis_refused"

    def __init__(self, message: str, *, broken_key: bool = False) -> None:
        super().__init__(message)
        self.broken_key = broken_key


class UnknownSchema(ReadalongError):
    """Retryable: while an upgrade is under way, another process may know it."""

    code = "unknown_schema"
    retryable = True


class BrokenJob(ReadalongError):
    """A job's keys hold what readalong did not write."""

    code = "broken_job"


class NotRetryable(ReadalongError):
    """`code` tells why: `job_running`, `request_gone`, `job_in_thread`."""

    def __init__(self, message: str, *, code: str = "request_gone") -> None:
        super().__init__(message)
        self.code = code


class JobFailed(ReadalongError):
    """`code`: that of the job's error, or `cancelled`. Never retryable: the queue has tried as often as the job's own
    terms allow, and a repeat would be another generation."""

    code = "job_failed"

    def __init__(
        self,
        message: str,
        *,
        code: str = "job_failed",
        job_id: str = "",
        param: str | None = None,
        model_code: str | None = None,
    ) -> None:
        """`param`, `model_code`: as of ModelError."""
        super().__init__(message)
        self.code = code
        self.job_id = job_id
        self.param = param
        self.model_code = model_code


class Stopping(ReadalongError):
    """This process stops; another one serves."""

    code = "stopping"
    retryable = True


class Fenced(ReadalongError):
    """The writer lost the log. `code` tells how: `fenced`, `ended` or `gone`."""

    def __init__(self, message: str, *, code: str = "fenced") -> None:
        super().__init__(message)
        self.code = code


class ModelError(ReadalongError):
    """The model's failure, with a code of its own for each kind (docs/protocol.md lists them).

    `status`: the HTTP status that it answered, 0 if none. `away`: its server is away for a moment, by its own words or
    since it cannot be reached. `connected`: the server took the connection, so only this model is known to be away.
    `refuses`: it may refuse this worker (its key, its address) rather than this job. `param`, `model_code`: the
    parameter that the model finds wrong, and its own name of the error, such as `context_length_exceeded`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool,
        retry_after: float | None = None,
        status: int = 0,
        away: bool = False,
        connected: bool = False,
        refuses: bool = False,
        param: str | None = None,
        model_code: str | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.code = code
        self.retryable = retryable
        self.status = status
        self.away = away
        self.connected = connected or status > 0
        self.refuses = refuses
        self.param = param
        self.model_code = model_code

    def fields(self) -> dict[str, str | bool]:
        """Returns the `error` of a job's end."""
        said = {"param": self.param, "model_code": self.model_code}
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            **{name: value for name, value in said.items() if value is not None},
        }

    def cleaned(self, clean: Callable[[str], str]) -> ModelError:
        """Returns the same error with each text of the server's cleaned."""
        return ModelError(
            self.code,
            clean(self.message),
            retryable=self.retryable,
            retry_after=self.retry_after,
            status=self.status,
            away=self.away,
            connected=self.connected,
            refuses=self.refuses,
            param=None if self.param is None else clean(self.param),
            model_code=None if self.model_code is None else clean(self.model_code),
        )


class BadSettings(ReadalongError):
    """A variable of the environment cannot be used."""

    code = "bad_settings"
