"""Keys in Redis that hold what readalong did not write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from readalong.core.errors import BrokenJob, StoreRefused


def readable(job_id: str) -> AbstractContextManager[None]:
    """Turns what a broken key of this job's makes Redis, or its reader, stumble over into BrokenJob."""
    return _readable(f"job {job_id}")


def readable_thread(digest: str) -> AbstractContextManager[None]:
    """Likewise, of the thread with this digest."""
    return _readable(f"thread {digest}")


@contextmanager
def _readable(owner: str) -> Iterator[None]:
    try:
        yield
    except (StoreRefused, LookupError, TypeError, ValueError) as error:
        if isinstance(error, StoreRefused) and not error.broken_key:
            raise
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise BrokenJob(f"What Redis holds of {owner} cannot be read: {why}") from error
