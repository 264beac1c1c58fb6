"""`/v1/jobs/{id}/stream`: a job's log by the reading half of the Durable Streams protocol."""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from readalong.api.auth.policy import job_not_found
from readalong.api.dependencies import Dependencies, dependencies_of
from readalong.api.face_schemas import StreamFrame, StreamMessages
from readalong.api.fanout.end_watcher import wait_until
from readalong.api.fanout.lost_jobs import is_lost
from readalong.api.fanout.sse_response import SseResponse
from readalong.api.openapi import JOB_ID, event_stream, parameter
from readalong.api.problems import describe_problems, json_content
from readalong.api.response_headers import STREAM_END, STREAM_PAGE, STREAM_SILENT
from readalong.api.routes.job_reading import missing
from readalong.api.routes.route import Handler, Route
from readalong.api.wire.durable_stream import (
    CURSOR_SECONDS,
    Controls,
    control,
    cursor_after,
    durable_stream,
    message,
    offset_of,
)
from readalong.core.errors import BrokenJob, InvalidRequest, JobNotFound
from readalong.core.events import Event
from readalong.core.keys import is_job_id
from readalong.core.position import Position
from readalong.store.epochs import Epochs
from readalong.store.job_record import Record, rfc3339

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["Durable Streams"], route_class=Route)

_OFFSET: Final = parameter("offset", "query", "`Stream-Next-Offset` of the last read; -1: the start; `now`: the end.")
_LIVE: Final = parameter("live", "query", "Wait for what comes; needs an `offset`.", enum=["long-poll", "sse"])
_GIVEN_CURSOR: Final = parameter("cursor", "query", "`Stream-Cursor` of the last read.")
_KNOWN_PAGE: Final = parameter("If-None-Match", "header", "The `ETag` of a page that the client has.")

#: Bytes of messages after which a page ends, and events that one command reads.
_PAGE_BYTES: Final = 1_048_576
_PAGE_EVENTS: Final = 1000
#: Seconds that a long poll waits.
_WAIT: Final = 25.0
#: The most by which a cursor goes ahead of the time: an hour.
_JITTER: Final = 3600 // CURSOR_SECONDS
#: Of every response: no browser takes a message for a page or a script of this site.
_HEADERS: Final = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
#: Caches may keep a page but must ask whether it still holds: a job can be erased, and a policy can change its mind.
_ASK: Final = "private, no-cache"


class _Tail(NamedTuple):
    """A log as its record tells: where it ends, and which claims wrote its numbers."""

    seq: int
    closed: bool
    epochs: Epochs

    @classmethod
    def of(cls, record: Record) -> _Tail:
        return cls(record.last_seq, record.ended, Epochs(record.epochs))

    def offset(self, seq: int) -> str:
        return offset_of(Position(seq, self.epochs.at(seq)))

    def fits(self, position: Position) -> bool:
        """Returns whether the position is of this log: Redis may have lost what its client has seen."""
        ahead = position.seq > self.seq
        known = self.epochs.newest if ahead else self.epochs.at(position.seq)
        return not (ahead and self.closed) and (known == position.epoch or not (known and position.epoch))


@router.head(
    "/stream",
    response_class=Response,
    responses={200: {"headers": STREAM_END}, **describe_problems(404, 410)},
    openapi_extra={"parameters": [JOB_ID]},
)
async def describe_stream(request: Request) -> Response:
    """Tells where the stream ends."""
    deps, record = await _found(request)
    tail = _Tail.of(record)
    head = {"cache-control": "no-store", "stream-next-offset": tail.offset(tail.seq), **_closed(closed=tail.closed)}
    if record.ended_at is not None:
        head["stream-expires-at"] = rfc3339(record.ended_at + int(deps.settings.retention * 1000))
    return _json(b"", head)


@router.get(
    "/stream",
    response_class=Response,
    responses={
        200: {
            "description": "What follows the offset: a page, or with `live=sse` events with a list of one message, and "
            "between them where the stream goes on.",
            "content": {**json_content(StreamMessages), **event_stream(StreamFrame)},
            "headers": STREAM_PAGE,
        },
        204: {"description": "Nothing has come.", "headers": STREAM_SILENT},
        304: {"description": "The client has this page.", "headers": STREAM_PAGE},
        **describe_problems(400, 404, 410),
    },
    openapi_extra={"parameters": [JOB_ID, _OFFSET, _LIVE, _GIVEN_CURSOR, _KNOWN_PAGE]},
)
async def read_stream(request: Request) -> Response:
    """Returns what follows an offset: a page, the next events when they come, or a stream of them."""
    deps, record = await _found(request)
    offset, live = _one(request, "offset"), _one(request, "live")
    if live not in (None, "long-poll", "sse"):
        raise _wrong("live", "must be long-poll or sse")
    if live is not None and offset is None:
        raise _wrong("offset", "must be there with live")
    given = _parse(offset)
    tail = _Tail.of(record)
    position = Position(tail.seq, tail.epochs.at(tail.seq)) if given is None else given
    if not tail.fits(position):
        raise _gone()
    if live == "sse":
        return await _sse(request, deps, record, position)
    if live == "long-poll":
        return await _long_poll(request, deps, record, position)
    if given is None:
        told = {"stream-next-offset": tail.offset(tail.seq), "stream-up-to-date": "true"}
        return _json(b"[]", {"cache-control": "no-store", **told, **_closed(closed=tail.closed)})
    return await _page(request, deps, record, position)


async def _page(
    request: Request, deps: Dependencies, record: Record, position: Position, cursor: str | None = None
) -> Response:
    tail = _Tail.of(record)
    events = await _read(deps, record, position.seq)
    last = events[-1].seq if events else position.seq
    following = tail.offset(last) if events else offset_of(position)
    at_tail = last >= tail.seq
    head = {
        "cache-control": _ASK,
        "etag": f'"{record.id}:{offset_of(position)}:{following}{":c" if at_tail and tail.closed else ""}"',
        "stream-next-offset": following,
        **({"stream-up-to-date": "true"} if at_tail else {}),
        **_closed(closed=at_tail and tail.closed),
        **({} if cursor is None else {"stream-cursor": cursor}),
    }
    if _matches(request.headers.get("if-none-match", ""), head["etag"]):
        return Response(status_code=304, headers={**_HEADERS, **head})
    return _json(b"[%b]" % b",".join(map(message, events)), head)


async def _long_poll(request: Request, deps: Dependencies, record: Record, position: Position) -> Response:
    cursor = _cursor(request)
    if record.last_seq <= position.seq and not record.ended:
        feed = await deps.hub.feed(record.id, *position)
        try:
            await wait_until(deps, request, feed, lambda: feed.newest > position.seq, _WAIT)
        except JobNotFound:
            raise await missing(deps, record.id) from None
        record = await _record(deps, record.id)
        if not _Tail.of(record).fits(position):
            raise _gone()
    tail = _Tail.of(record)
    if tail.seq > position.seq:
        return await _page(request, deps, record, position, cursor)
    told = {"stream-next-offset": offset_of(position), "stream-up-to-date": "true", **_closed(closed=tail.closed)}
    if not tail.closed:
        told["stream-cursor"] = cursor
    return Response(status_code=204, headers={**_HEADERS, "cache-control": "no-store", **told})


async def _sse(request: Request, deps: Dependencies, record: Record, position: Position) -> Response:
    cursor = _cursor(request)
    feed = await deps.hub.feed(record.id, *position)
    place = feed.place(*position)
    if place != position.seq:
        deps.hub.release(feed)
        raise _gone()
    if feed.is_complete_at(place):
        deps.hub.release(feed)
        end = control(offset_of(position), cursor, up_to_date=True, closed=True)
        return Response(end, 200, {**_HEADERS, "cache-control": "no-cache"}, media_type="text/event-stream")
    opening = b""
    if place >= feed.newest:
        opening = control(offset_of(position), cursor, up_to_date=True, closed=False)
    return SseResponse(
        deps.hub,
        feed,
        durable_stream,
        place,
        epoch=position.epoch,
        send_timeout=deps.settings.send_timeout,
        headers=_HEADERS,
        cut=Controls(cursor, lambda: feed.newest),
        opening=opening,
    )


async def _read(deps: Dependencies, record: Record, after: int) -> list[Event]:
    """Returns the events after a number, up to the record's last one or about a page's bytes, each as it was appended.
    Raises JobNotFound, BrokenJob."""
    events: list[Event] = []
    size, reached = 0, after
    while size < _PAGE_BYTES and reached < record.last_seq:
        found = await deps.log.read(record.id, reached, _PAGE_EVENTS)
        for event in found:
            if event.seq != reached + 1 or event.seq > record.last_seq:
                break
            events.append(event)
            size, reached = size + len(event.data), event.seq
            if size >= _PAGE_BYTES:
                break
        else:
            if found:
                continue
        break
    if not events and after < record.last_seq:
        if await is_lost(deps.log, record.id):
            raise await missing(deps, record.id)
        raise BrokenJob(f"job {record.id}: no event {after + 1} in its log")
    return events


async def _found(request: Request) -> tuple[Dependencies, Record]:
    """Returns the job in the path, if the policy shows it. Raises JobNotFound."""
    deps, job_id = dependencies_of(request), request.path_params["job_id"]
    if not is_job_id(job_id):
        raise job_not_found(job_id)
    await deps.authorize_watch(request, job_id)
    return deps, await _record(deps, job_id)


async def _record(deps: Dependencies, job_id: str) -> Record:
    record = await deps.log.record(job_id)
    if record is None:
        raise await missing(deps, job_id)
    return record


def _parse(offset: str | None) -> Position | None:
    """Returns the position; None: the end. Raises InvalidRequest."""
    if offset == "now":
        return None
    if offset in (None, "-1"):
        return Position(0)
    try:
        position = Position.parse(offset)
    except ValueError:
        raise _wrong("offset", "must be an offset of this stream") from None
    if offset != offset_of(position):
        raise _wrong("offset", "must be an offset of this stream")
    return position


def _one(request: Request, name: str) -> str | None:
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise _wrong(name, "must be there once")
    return given[0] if given else None


def _cursor(request: Request) -> str:
    # A cursor is no secret.
    return cursor_after(request.query_params.get("cursor"), random.randint(1, _JITTER))


def _matches(given: str, etag: str) -> bool:
    """Returns whether `If-None-Match` names the page (RFC 9110, section 13.1.2)."""
    return etag in (each.strip().removeprefix("W/") for each in given.split(",")) or given.strip() == "*"


def _closed(*, closed: bool) -> dict[str, str]:
    return {"stream-closed": "true"} if closed else {}


def _json(body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, 200, {**_HEADERS, **headers}, media_type="application/json")


def _wrong(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{name} {why}.", code="invalid_position", field=name)


def _gone() -> InvalidRequest:
    message = "Redis has lost events before this offset. Read the stream from its start."
    return InvalidRequest(message, code="offset_gone", field="offset")


#: Served without FastAPI's router: HEAD and GET are two functions.
DIRECT: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("HEAD", "/v1/jobs/{job_id}/stream", describe_stream),
    ("GET", "/v1/jobs/{job_id}/stream", read_stream),
)
