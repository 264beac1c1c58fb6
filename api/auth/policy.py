"""Who may do what: the one object that each request for jobs asks.

An application has one policy. `create_app(settings, policy=...)` takes it; without one every request may do everything.
A policy reads the credentials in a request's headers; nothing else in the API knows of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.datastructures import Headers

from readalong.core.errors import JobNotFound, ReadalongError
from readalong.store.job_record import Record
from readalong.store.log import Log


class Unauthorized(ReadalongError):
    """The request has no credentials, or none that are known. Answered by 401 with the challenge."""

    code = "unauthorized"

    def __init__(self, message: str = "This needs credentials.", *, challenge: str = "Bearer") -> None:
        """`challenge`: the value of WWW-Authenticate (RFC 9110, section 11.6.1)."""
        super().__init__(message)
        self.challenge = challenge


class Forbidden(ReadalongError):
    """The credentials are known and do not suffice. Answered by 403; if `hidden`, as if there were no such job."""

    code = "forbidden"

    def __init__(self, message: str = "These credentials do not allow this.", *, hidden: bool = False) -> None:
        super().__init__(message)
        self.hidden = hidden


class Job:
    """The job that a request names."""

    __slots__ = ("_log", "id")

    def __init__(self, job_id: str, log: Log) -> None:
        self.id = job_id
        self._log = log

    async def metadata(self) -> Mapping[str, Any] | None:
        """Returns the job's metadata, for one command to Redis; None if there is no such job, or not any more.

        Raises StoreUnavailable, UnknownSchema, BrokenJob: a policy lets them pass.
        """
        record = await self._log.record(self.id)
        return None if record is None else record.metadata


class Policy(Protocol):
    """Each method returns if the request may do it, and raises Unauthorized or Forbidden if not.

    Each request asks once, before anything is done or said of the job; a stream asks when it begins, and again when its
    client comes back. Many requests ask at the same time, in one event loop.
    """

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        """Whether a job may be submitted; asked before the body is read.

        Returns pairs for the job's metadata, which win over the client's: whose the job is, for example. Jobs with
        different pairs never share an Idempotency-Key. The model does not get the pairs.
        """
        ...

    async def watch(self, headers: Headers, job: Job) -> None:
        """Whether the job may be inspected and watched."""
        ...

    async def change(self, headers: Headers, job: Job) -> None:
        """Whether the job may be cancelled and erased."""
        ...

    async def list(self, headers: Headers) -> Callable[[Record], bool]:
        """Whether jobs may be listed. Returns a function that says of each job whether the list shows it."""
        ...


class Everybody:
    """Every request may do everything: there is no authentication."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {}

    async def watch(self, headers: Headers, job: Job) -> None:
        pass

    async def change(self, headers: Headers, job: Job) -> None:
        pass

    async def list(self, headers: Headers) -> Callable[[Record], bool]:
        return _any


def _any(_: Record) -> bool:
    return True


def no_job(job_id: str) -> JobNotFound:
    """The answer for a job that there never was; the same for one that a policy hides."""
    return JobNotFound(f"There is no job {job_id}.")
