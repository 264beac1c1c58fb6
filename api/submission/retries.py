"""Submits that the OpenAI SDKs repeat after a lost reply: they send no Idempotency-Key, only a count of retries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final

import orjson
from starlette.requests import ClientDisconnect, Request

from readalong.api.submission.gone import submitting
from readalong.core.errors import Stopping, StoreRefused, StoreUnavailable
from readalong.store.job_record import Record
from readalong.store.repeats import RepeatStore

logger = logging.getLogger(__name__)

_COUNT: Final = "x-stainless-retry-count"


def is_retry(request: Request) -> bool:
    """Returns whether an OpenAI SDK sends this request again."""
    count = request.headers.get(_COUNT, "").strip()
    return count.isascii() and count.isdigit() and int(count[:9]) > 0


class Retries:
    """Offers a job to repeats of its submit by the same caller with the same body, until its answer is out."""

    def __init__(self, store: RepeatStore) -> None:
        self._store = store
        #: Ends of offers that are under way: the loop itself would let them go.
        self._ending: set[asyncio.Task[None]] = set()

    async def offer(self, digest: str, job_id: str, pairs: Mapping[str, str]) -> None:
        """Offers a job. `digest`: of its body; `pairs`: the policy's. Raises StoreUnavailable, as `take` and `end`."""
        await self._store.offer(digest, job_id, _owner(pairs))

    async def take(self, digest: str, pairs: Mapping[str, str]) -> str | None:
        """Returns the id of the job that a repeat stands for; None if there is none."""
        return await self._store.take(digest, _owner(pairs))

    async def end(self, digest: str, job_id: str) -> None:
        """Ends the offer of a job that cannot answer."""
        await self._store.end(digest, job_id)

    async def answered(self, record: Record) -> None:
        """Ends the offer, since a client has got the answer, or begins to get it. Raises nothing: while Redis is away
        the offer ends by its time to live."""
        try:
            await self._store.end(record.body_digest, record.id)
        except (StoreUnavailable, StoreRefused) as error:
            logger.debug("the offer of job %s stays: %s", record.id, error)

    def answers(self, record: Record) -> None:
        """As `answered`, for those who cannot wait for Redis."""
        task = asyncio.get_running_loop().create_task(self.answered(record))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


@asynccontextmanager
async def answering(retries: Retries, record: Record, key: str | None, pairs: Mapping[str, str]) -> AsyncIterator[None]:
    """Answers a submit. Without an Idempotency-Key (`key`), a client that leaves before its answer, or is sent away,
    may repeat it: after a long wait the first offer is over. Raises as `submitting` does.
    """
    with submitting():
        try:
            yield
        except (ClientDisconnect, Stopping):
            if key is None:
                await retries.offer(record.body_digest, record.id, pairs)
            raise


def _owner(pairs: Mapping[str, str]) -> str:
    """Returns the namespace of a caller. The digest has no blanks and no length of a client's choice."""
    return sha256(orjson.dumps(pairs, option=orjson.OPT_SORT_KEYS)).hexdigest() if pairs else "-"
