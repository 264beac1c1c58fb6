"""Runs a batch of jobs so that a broken key fails its own job only."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from readalong.core.errors import BrokenJob, StoreRefused

logger = logging.getLogger(__name__)

T = TypeVar("T")


async def bisect_failures(jobs: list[T], do: Callable[[list[T]], Awaitable[None]]) -> None:
    """Runs a batch. On a broken key, bisects it so that only that job fails, which is logged.

    `do` must be repeatable. Raises every error that is not one job's fault: Redis is away, a right is missing.
    """
    try:
        await do(jobs)
    except (BrokenJob, StoreRefused, ValueError) as error:
        if isinstance(error, StoreRefused) and not error.broken_key:
            raise
        if len(jobs) == 1:
            logger.error("%s: broken keys: %s", jobs[0], error)
            return
        middle = len(jobs) // 2
        await bisect_failures(jobs[:middle], do)
        await bisect_failures(jobs[middle:], do)
