"""A page of the list of jobs, at the same price whatever the list's length."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, NamedTuple

import orjson

from readalong.api.dependencies import Dependencies
from readalong.core.errors import InvalidRequest
from readalong.core.keys import is_job_id
from readalong.core.states import Status
from readalong.store.job_index import Cursor
from readalong.store.job_record import Record

#: Jobs that one page looks at: it shows fewer than were asked for if so many are others than asked for, or gone.
_MOST: Final = 1000
#: Jobs of one look, if the page is not full after the first.
_MORE: Final = 200
#: Jobs that are read at once, and bytes of a page's jobs, as JSON, after which it ends. What one shows is bounded, but
#: another version or a hand may have written more.
_AT_ONCE: Final = 50
_MOST_BYTES: Final = 1_048_576
#: The end of the year 9999, in milliseconds.
_LATEST: Final = 253_402_300_799_999


class Page(NamedTuple):
    """`next`: how far it came; None at the end."""

    records: list[Record]
    next: Cursor | None


async def listing(
    services: Dependencies,
    before: Cursor | None,
    limit: int,
    *,
    shows: Callable[[Record], bool],
    state: Status | None,
    model: str | None,
    since: int | None,
    until: int | None,
    check: Callable[[], Awaitable[None]],
) -> Page:
    """Up to `limit` jobs older than `before`, newest first, of this state and this model, created at `since` or later
    and before `until`, which the policy `shows`. What a job's hash does not confirm is left out.

    `check` is awaited between two reads, and what it raises ends them. Raises StoreUnavailable.
    """
    found: list[Record] = []
    cursor = before
    seen = size = 0
    count = limit
    while len(found) < limit and seen < _MOST:
        page = await services.index.page(
            cursor,
            count,
            state=state,
            model=model,
            since=since or 0,
            until=_LATEST if until is None else until,
            check=check,
        )
        for start in range(0, len(page), _AT_ONCE):
            await check()
            some = page[start : start + _AT_ONCE]
            for at, record in zip(some, await services.log.records([at.job_id for at in some]), strict=True):
                if len(found) == limit:
                    return Page(found, cursor)
                if record is None or not shows(record):
                    cursor = _unnamed(at)
                    continue
                if state in (None, record.status) and model in (None, record.model):
                    size += _size(record)
                    if found and size > _MOST_BYTES:
                        return Page(found, cursor)
                    found.append(record)
                cursor = at
        if len(page) < count:
            return Page(found, None)
        seen += count
        count = _MORE
    return Page(found, cursor)


def _unnamed(place: Cursor) -> Cursor:
    """A place right behind this job which does not tell its id: `next` would show it to a client that may not see it.
    Another job between the two would have the same millisecond and the same first 48 bits."""
    kept = place.job_id[:8]
    return Cursor(place.created_at, kept + "-" * (len(place.job_id) - len(kept)))


def _size(record: Record) -> int:
    """Bytes that it takes in a page, more or less."""
    parts = (record.worker, record.usage, record.metrics, record.error, record.metadata)
    return 1000 + len(record.model) + sum(len(orjson.dumps(part)) for part in parts if part)


def parse_cursor(text: str) -> Cursor:
    """From the text of one. Raises InvalidRequest."""
    created_at, _, job_id = text.partition(":")
    if not (created_at.isascii() and created_at.isdigit() and len(created_at) < 16 and is_job_id(job_id)):
        raise InvalidRequest("before must come from `next`.", code="invalid_cursor", field="before")
    return Cursor(int(created_at), job_id)


def parse_time(text: str, field: str) -> int:
    """Milliseconds since the epoch, from these or from RFC 3339. Raises InvalidRequest."""
    if text.isascii() and text.isdigit() and len(text) < 16:
        return min(int(text), _LATEST)
    try:
        # A plus that was not escaped has come as a blank.
        time = datetime.fromisoformat(text.replace(" ", "+"))
        if time.tzinfo is None:
            raise ValueError("no time zone")
        return max(0, round(time.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"{field} must be RFC 3339 with a time zone, or milliseconds since the epoch.",
            code="invalid_parameter",
            field=field,
        ) from None
