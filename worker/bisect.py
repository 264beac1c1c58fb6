"""What is done for many jobs in a few commands is done for the others, too, when somebody has broken a key of one."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from readalong.core.errors import BrokenJob, StoreRefused

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def bisect_failures(jobs: list[T], do: Callable[[list[T]], Awaitable[None]]) -> None:
    """Does it for all at once; where a broken key forbids it, for each half by itself, down to one, which is logged.

    To do it twice for a job must do no harm. Raises all that is no single job's fault: a Redis that is away, a right
    that is missing.
    """
    try:
        await do(jobs)
    except (BrokenJob, StoreRefused, ValueError) as error:
        if isinstance(error, StoreRefused) and not error.broken_key:
            raise
        if len(jobs) == 1:
            logger.error("%s: somebody has broken its keys: %s", jobs[0], error)
            return
        middle = len(jobs) // 2
        await bisect_failures(jobs[:middle], do)
        await bisect_failures(jobs[middle:], do)
