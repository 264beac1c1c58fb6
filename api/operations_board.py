"""What an operator is shown of the whole: one look, and what is drawn from it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import orjson

from readalong.api.operations_schemas import status_body
from readalong.api.schemas import job_response
from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.redis_cli import redis_cli_command
from readalong.core.settings import Settings
from readalong.store.findings import Growth, findings_of
from readalong.store.job_record import Record
from readalong.store.stats import StatsStore
from readalong.store.status import StatusStore

#: Minutes in which a queue that grows is seen.
_GROWTH_MINUTES: Final = 5


class StatusBoard:
    """Looks at Redis, the queue, the workers and the open jobs, and says what is the matter."""

    def __init__(self, store: StatusStore, stats: StatsStore, settings: Settings) -> None:
        self._store = store
        self._stats = stats
        self._timeout = settings.redis_timeout
        self._address = settings.safe_redis_url
        self._cli = redis_cli_command(settings)
        self._prefix = settings.prefix

    async def look(self) -> dict[str, Any]:
        """Returns a SystemStatus as plain data. Raises nothing that Redis may answer."""
        look = await self._store.look()
        growth = await self._growth() if look.queued else None
        return status_body(look, findings_of(look, self._address, self._cli, growth), self._prefix)

    async def _growth(self) -> Growth | None:
        with suppress(StoreUnavailable, StoreRefused, TimeoutError):
            async with asyncio.timeout(self._timeout):
                return await self._stats.growth(_GROWTH_MINUTES)
        return None


def listed(record: Record, root_path: str) -> bytes:
    """Returns a job as the list has it, as JSON."""
    return orjson.dumps(job_response(record, None, root_path=root_path))
