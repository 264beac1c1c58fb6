"""A page of the list of jobs, at the same cost whatever the list's length."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from readalong.api.dependencies import Dependencies
from readalong.api.submission.chat_request import MAX_PAIRS
from readalong.core.errors import InvalidRequest
from readalong.core.keys import is_job_id
from readalong.core.states import Status
from readalong.store.job_index import Cursor
from readalong.store.job_record import Record

#: Jobs that one page examines. A page has fewer than its limit if so many of them do not match.
_MAX_EXAMINED: Final = 1000
#: Jobs of each read after the first, if the page is not full by then.
_NEXT_READ: Final = 200
#: Jobs whose records one command reads.
_BATCH: Final = 50
#: Bytes of a page's JSON after which it ends. The API bounds a job's size, but another version or a person may not.
_MAX_BYTES: Final = 1_048_576
#: What the name of a filter by metadata begins with.
_METADATA: Final = "metadata."
#: The end of the year 9999, in milliseconds.
_MAX_TIME: Final = 253_402_300_799_999


class Filters(NamedTuple):
    """Which jobs a page shows: `since` (ms) or later, and before `until`; `shows` is the policy's predicate. `thread`:
    the digest of theirs. `metadata`: pairs that theirs have."""

    state: Status | None
    model: str | None
    since: int | None
    until: int | None
    shows: Callable[[Record], bool]
    thread: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()

    def match(self, record: Record) -> bool:
        """Returns whether the job is one of these, but for its time and the policy."""
        return (
            self.state in (None, record.status)
            and self.model in (None, record.model)
            and self.thread in (None, record.thread_digest)
            and all(_said(record.metadata.get(key)) == value for key, value in self.metadata)
        )


class Page(NamedTuple):
    """`next`: the last place that the page examined; None at the end."""

    records: list[Record]
    next: Cursor | None


async def read_page(
    deps: Dependencies,
    before: Cursor | None,
    limit: int,
    filters: Filters,
    *,
    check: Callable[[], Awaitable[None]],
    newest_first: bool = True,
) -> Page:
    """Returns up to `limit` jobs older than `before`, newest first, or those that are newer, oldest first. The index
    may lag: a job's hash decides.

    `check` is awaited between two reads; its exception ends them. Raises StoreUnavailable.
    """
    found: list[Record] = []
    cursor = before
    examined = size = 0
    count = limit
    while len(found) < limit and examined < _MAX_EXAMINED:
        page = await deps.index.page(
            cursor,
            count,
            state=filters.state,
            model=filters.model,
            thread=filters.thread,
            since=filters.since or 0,
            until=_MAX_TIME if filters.until is None else filters.until,
            check=check,
            newest_first=newest_first,
        )
        for start in range(0, len(page), _BATCH):
            await check()
            batch = page[start : start + _BATCH]
            for place, record in zip(batch, await deps.log.records([each.job_id for each in batch]), strict=True):
                if len(found) == limit:
                    return Page(found, cursor)
                if record is None or not filters.shows(record):
                    cursor = _without_id(place) if newest_first else place
                    continue
                if filters.match(record):
                    size += _size(record)
                    if found and size > _MAX_BYTES:
                        return Page(found, cursor)
                    found.append(record)
                cursor = place
        if len(page) < count:
            return Page(found, None)
        examined += count
        count = _NEXT_READ
    return Page(found, cursor)


async def read_beginning(deps: Dependencies, beginning: str, limit: int, filters: Filters) -> Page:
    """Returns up to `limit` jobs whose id begins so, newest first. Of more than `_NEXT_READ` such jobs it looks at
    some: a longer beginning finds the others. Raises StoreUnavailable."""
    ids = await deps.index.beginning(beginning, _NEXT_READ)
    since, until = filters.since or 0, _MAX_TIME if filters.until is None else filters.until
    found: list[Record] = []
    for start in range(0, len(ids), _BATCH):
        records = await deps.log.records(ids[start : start + _BATCH])
        found += [
            record for record in records if record is not None and filters.shows(record) and filters.match(record)
        ]
    found = [record for record in found if since <= record.created_at < until]
    found.sort(key=lambda record: (record.created_at, record.id), reverse=True)
    return Page(found[:limit], None)


def metadata_filters(query: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Returns the pairs that a query's `metadata.<key>` name. Raises InvalidRequest."""
    found = tuple((name.removeprefix(_METADATA), value) for name, value in query if name.startswith(_METADATA))
    if len(found) > MAX_PAIRS:
        raise InvalidRequest(f"metadata: at most {MAX_PAIRS} pairs.", code="invalid_parameter", field="metadata")
    return found


def _said(value: Any) -> str | None:
    """Returns a value of metadata as a query writes it: a string as it is, all else as JSON."""
    return value if isinstance(value, str) or value is None else orjson.dumps(value).decode()


def _without_id(place: Cursor) -> Cursor:
    """Returns a place right after this job without its id: `next` would tell the id to a client that may not see it.

    A job between the two places would have the same millisecond and the same first 48 bits.
    """
    kept = place.job_id[:8]
    return Cursor(place.created_at, kept + "-" * (len(place.job_id) - len(kept)))


def _size(record: Record) -> int:
    """Returns roughly the bytes of the job in a page."""
    parts = (record.worker, record.usage, record.metrics, record.error, record.metadata)
    return 1000 + len(record.model) + sum(len(orjson.dumps(part)) for part in parts if part)


def parse_cursor(text: str) -> Cursor:
    """Returns the place that a `before` names. Raises InvalidRequest."""
    created_at, _, job_id = text.partition(":")
    if not (created_at.isascii() and created_at.isdigit() and len(created_at) < 16 and is_job_id(job_id)):
        raise InvalidRequest("before must come from `next`.", code="invalid_cursor", field="before")
    return Cursor(int(created_at), job_id)


def parse_time(text: str, field: str) -> int:
    """Returns milliseconds since the epoch, from milliseconds or RFC 3339. Raises InvalidRequest."""
    if text.isascii() and text.isdigit() and len(text) < 16:
        return min(int(text), _MAX_TIME)
    try:
        # An unescaped plus in a query arrives as a space.
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
