"""What an operator is shown of the whole: one look, and what is drawn from it."""

from __future__ import annotations

from typing import Any

import orjson

from readalong.api.operations_schemas import status_body
from readalong.api.schemas import job_response
from readalong.core.settings import Settings
from readalong.store.findings import findings_of
from readalong.store.job_record import Record
from readalong.store.status import StatusStore


class StatusBoard:
    """Looks at Redis, the queue, the workers and the open jobs, and says what is the matter."""

    def __init__(self, store: StatusStore, settings: Settings) -> None:
        self._store = store
        self._address = settings.safe_redis_url

    async def look(self) -> dict[str, Any]:
        """Returns a SystemStatus as plain data. Raises nothing that Redis may answer."""
        look = await self._store.look()
        return status_body(look, findings_of(look, self._address))


def listed(record: Record, root_path: str) -> bytes:
    """Returns a job as the list has it, as JSON."""
    return orjson.dumps(job_response(record, None, root_path=root_path))
