"""The demo model in the test's own loop, and the errors of models that refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from readalong.testing.journal import Journal
from readalong.testing.server import serve
from tests.support.waiting import WITHIN

#: A model's HTTP statuses, by the job's error code and whether a retry may help.
_STATUSES: Final = {
    ("model_bad_request", False): (400, 413, 422),
    ("model_unauthorized", False): (401, 403),
    ("model_not_found", False): (404,),
    ("model_timeout", True): (408,),
    ("model_rate_limited", True): (429,),
    ("model_error", True): (409, 500, 503, 529),
    ("model_error", False): (418,),
}
REFUSALS: Final = {status: error for error, statuses in _STATUSES.items() for status in statuses}


@asynccontextmanager
async def serving_model(journal: Journal | None = None) -> AsyncIterator[str]:
    """Runs the demo model on a free port; yields its base URL, which ends in `/v1`."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve("127.0.0.1", 0, ready.set_result, handle_signals=False, journal=journal), name="demo model"
    )
    try:
        yield await asyncio.wait_for(ready, WITHIN)
    finally:
        task.cancel()
        await asyncio.wait([task])
