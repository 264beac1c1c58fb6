"""A job that is gone before its submit is answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from readalong.core.errors import JobExpired, JobNotFound, StoreUnavailable


@contextmanager
def submitting() -> Iterator[None]:
    """Turns the JobNotFound of a job that was just submitted into StoreUnavailable: Redis has lost it, or a client has
    erased it. To a POST a 404 would say that the address is wrong. A repeat creates the job, or gets a 410.
    """
    try:
        yield
    except JobExpired:
        raise
    except JobNotFound:
        raise StoreUnavailable("The job is gone; submit it again.", retry_after=1) from None
