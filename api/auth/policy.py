"""Who may do what: the one object that every request for jobs asks.

An application has one policy, `create_app(settings, policy=...)`. Without one, every request may do everything. A
policy reads the credentials in a request's headers; no other part of the API knows of credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.datastructures import Headers

from readalong.core.errors import JobNotFound, ReadalongError
from readalong.store.job_record import Record
from readalong.store.log import Log


class Unauthorized(ReadalongError):
    """The request has no credentials, or unknown ones. The response is a 401 with the challenge."""

    code = "unauthorized"

    def __init__(self, message: str = "Credentials required.", *, challenge: str = "Bearer") -> None:
        """`challenge`: the value of WWW-Authenticate (RFC 9110, section 11.6.1)."""
        super().__init__(message)
        self.challenge = challenge


class Forbidden(ReadalongError):
    """The credentials are known and do not suffice. The response is a 403; if `hidden`, the 404 of an unknown job."""

    code = "forbidden"

    def __init__(self, message: str = "These credentials do not allow this request.", *, hidden: bool = False) -> None:
        super().__init__(message)
        self.hidden = hidden


class Job:
    """The job that a request names."""

    __slots__ = ("_log", "id")

    def __init__(self, job_id: str, log: Log) -> None:
        self.id = job_id
        self._log = log

    async def metadata(self) -> Mapping[str, Any] | None:
        """Returns the job's metadata, for one command to Redis; None if the job does not exist or has expired.

        Raises StoreUnavailable, UnknownSchema, BrokenJob. A policy does not catch them.
        """
        record = await self._log.record(self.id)
        return None if record is None else record.metadata


class Policy(Protocol):
    """Each method returns if the request is allowed, and raises Unauthorized or Forbidden if not.

    Each request asks once, before anything of the job is read or changed. A stream asks when it begins, and again when
    its client reconnects. Many requests ask at the same time, in one event loop.
    """

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        """Allows a submit. The request's body has not been read yet.

        Returns pairs for the job's metadata, such as its owner. They win over the client's metadata. Jobs with
        different pairs never share an Idempotency-Key, nor a thread: calls about threads ask this method whose threads
        they are about. The model does not get the pairs.
        """
        ...

    async def watch(self, headers: Headers, job: Job) -> None:
        """Allows inspecting and watching the job."""
        ...

    async def change(self, headers: Headers, job: Job) -> None:
        """Allows cancelling and erasing the job."""
        ...

    async def list(self, headers: Headers) -> Callable[[Record], bool]:
        """Allows listing. Returns a predicate: whether the list shows a job."""
        ...

    async def operate(self, headers: Headers) -> None:
        """Allows seeing what concerns all jobs: the status, with ids of jobs and workers, and the statistics."""
        ...


class AllowAll:
    """The policy without authentication: every request may do everything."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {}

    async def watch(self, headers: Headers, job: Job) -> None:
        pass

    async def change(self, headers: Headers, job: Job) -> None:
        pass

    async def list(self, headers: Headers) -> Callable[[Record], bool]:
        return _show_all

    async def operate(self, headers: Headers) -> None:
        pass


def check_policy(policy: Policy) -> None:
    """Raises TypeError for a policy that lacks a method, such as one that was written before the method was added.

    The requests that ask the method would be answered 500.
    """
    missing = [f"{name}()" for name in vars(AllowAll) if not name.startswith("_") and not hasattr(policy, name)]
    if missing:
        raise TypeError(f"The policy {type(policy).__name__} lacks {', '.join(missing)}: see docs/embedding.md.")


def _show_all(_: Record) -> bool:
    return True


def job_not_found(job_id: str) -> JobNotFound:
    """Returns the error of an unknown job, which is also that of a hidden one."""
    return JobNotFound(f"Job {job_id} does not exist.")
