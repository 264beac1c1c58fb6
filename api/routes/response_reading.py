"""Reads a job as a response of the Responses API."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from starlette.requests import Request

from readalong.api.dependencies import Dependencies
from readalong.api.fanout.lost_jobs import is_lost
from readalong.api.http.client_presence import check_presence
from readalong.api.submission.openai_mistakes import mistake
from readalong.api.wire.openai_responses.response_object import ResponseHead, echo_of, response_id
from readalong.api.wire.openai_responses.responses_format import ResponsesFormat
from readalong.core.errors import JobNotFound
from readalong.core.events import Event
from readalong.core.keys import is_job_id
from readalong.core.thread_items import item_of
from readalong.store.broken_keys import readable
from readalong.store.job_record import Record
from readalong.store.threads import ThreadRef

#: The fields of a job's hash that a Responses request leaves: what its response repeats, and its input items.
ECHO: Final = "response"
INPUT: Final = "response_input"
#: The echo of a response that the client did not want stored.
NOT_STORED: Final = b'{"store":false}'

_PREFIX: Final = "resp_"
#: Characters of the ids that `new_job_id` makes. An item's id has more behind it.
_ID_LENGTH: Final = 22
_ITEM_PREFIXES: Final = ("msg_", "rs_", "fc_", "ctc_", "item_")
#: Jobs whose items one request may name by their ids.
_MAX_REFERENCED: Final = 64


class FoundResponse(NamedTuple):
    """`given`: a Responses request made the job, and `head.echo` is what it left."""

    record: Record
    head: ResponseHead
    given: bool


def job_id_of(given: str) -> str:
    """Returns the job of a response's id. Raises InvalidRequest, JobNotFound."""
    if not given.startswith(_PREFIX):
        message = f"Invalid 'response_id': '{given[:100]}'. Expected an ID that begins with 'resp'."
        raise mistake(message, "invalid_value", "response_id")
    job_id = given.removeprefix(_PREFIX)
    if not is_job_id(job_id):
        raise response_not_found(given)
    return job_id


def response_not_found(given: str) -> JobNotFound:
    return JobNotFound(f"Response with id '{given[:100]}' not found.")


async def find_response(deps: Dependencies, job_id: str) -> FoundResponse:
    """Returns a stored response; of any job, since each can be watched in each format. Raises JobNotFound."""
    record, [echo] = await deps.log.record_with(job_id, ECHO)
    if record is None or echo == NOT_STORED:
        raise response_not_found(response_id(job_id))
    head = ResponseHead(record.id, record.model, record.created_at, echo or echo_of({"metadata": record.metadata}))
    return FoundResponse(record, head, echo is not None)


async def response_json(request: Request, deps: Dependencies, record: Record, head: ResponseHead) -> bytes:
    """Returns the Response object, with the output so far.

    Raises JobNotFound if Redis has lost the job's log, and ClientDisconnect when the client leaves meanwhile.
    """
    return (await _fold(request, deps, record, head)).json()


async def find_items(
    request: Request, deps: Dependencies, item_ids: list[str], thread: ThreadRef | None
) -> dict[str, dict[str, Any]]:
    """Returns the stored items with these ids, as far as there are such items: those of the thread, and those of
    responses that the client may see."""
    wanted, jobs = set(item_ids), dict[str, None]()
    found: dict[str, dict[str, Any]] = {}
    if thread is not None:
        for item_id in wanted:
            if (entry := await deps.threads.entry(thread, item_id)) is not None:
                found[item_id] = item_of(entry)
    for item_id in wanted - found.keys():
        prefix = next((each for each in _ITEM_PREFIXES if item_id.startswith(each)), None)
        if prefix is not None and is_job_id(job_id := item_id[len(prefix) :][:_ID_LENGTH]):
            jobs[job_id] = None
    if len(jobs) > _MAX_REFERENCED:
        raise mistake(f"The input names items of more than {_MAX_REFERENCED} responses.", "invalid_value", "input")
    for job_id in jobs:
        try:
            await deps.authorize_watch(request, job_id)
            stored = await find_response(deps, job_id)
        except JobNotFound:
            continue
        items = [
            *(await _fold(request, deps, stored.record, stored.head)).items(),
            *await input_items(deps, job_id),
        ]
        found.update({item["id"]: item for item in items if item["id"] in wanted})
    return found


async def input_items(deps: Dependencies, job_id: str) -> list[dict[str, Any]]:
    """Returns the items that a request gave, in its order; none for a job that no Responses request made."""
    _, [stored] = await deps.log.record_with(job_id, INPUT)
    with readable(job_id):
        items: list[dict[str, Any]] = orjson.loads(stored or b"[]")
        return items


async def _fold(request: Request, deps: Dependencies, record: Record, head: ResponseHead) -> ResponsesFormat:
    wire = ResponsesFormat(head)

    def add(events: list[Event]) -> None:
        for event in events:
            wire.encode(event)

    with readable(record.id):
        check = partial(check_presence, request)
        last = await deps.log.read_all(record.id, add, until=record.last_seq, check=check)
        if last < record.last_seq and await is_lost(deps.log, record.id):
            raise response_not_found(head.id)
    return wire
