"""`/v1/threads`: what was said in a thread, its running job, its jobs; erase."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Annotated, Final, Literal
from urllib.parse import quote, urlencode

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from readalong.api import thread_schemas
from readalong.api.dependencies import Dependencies, Deps
from readalong.api.http.client_presence import check_presence
from readalong.api.problems import describe_problems
from readalong.api.routes import job_ending
from readalong.api.routes.job_reading import job_json, root_path_of
from readalong.api.routes.jobs_page import Filters, parse_cursor, read_page
from readalong.api.routes.route import Route, add_head_routes
from readalong.api.schemas import Job, JobList, job_response
from readalong.core.errors import JobNotFound, ThreadNotFound
from readalong.core.thread_items import item_of
from readalong.store.job_record import rfc3339
from readalong.store.threads import Thread, ThreadRef

router = APIRouter(prefix="/v1/threads", tags=["threads"], route_class=Route)

_MAX_LIMIT: Final = 200
#: Bytes of a page's entries after which it ends.
_MAX_BYTES: Final = 4_194_304


@router.get("/{thread_id}", response_model=thread_schemas.Thread, responses=describe_problems(404, 422))
async def get_thread(
    request: Request,
    thread_id: str,
    deps: Deps,
    *,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: the oldest entry first.")] = "asc",
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 50,
    after: Annotated[str | None, Query(description="From the `next` of the previous page.")] = None,
) -> Response:
    """Returns a thread and what was said in it.

    A page may hold fewer than `limit` and have a `next`.
    What a turn says is there once its job has ended.
    """
    ref = await ref_of(deps, request, thread_id)
    thread = await thread_of(deps, ref)
    entries = await deps.threads.entries(ref, after or "", limit + 1, newest_first=order == "desc")
    shown: list[bytes] = []
    for entry in entries[:limit]:
        view = orjson.dumps({"id": entry.id, "message": entry.message, "item": item_of(entry)})
        if shown and sum(map(len, shown)) + len(view) > _MAX_BYTES:
            break
        shown.append(view)
    path = _path(request, ref)
    link = None
    if len(shown) < len(entries):
        link = f"{path}?{urlencode({'after': entries[len(shown) - 1].id, 'order': order, 'limit': limit})}"
    said = {
        "id": thread.id,
        "created_at": rfc3339(thread.created_at),
        "metadata": thread.metadata,
        "running": thread.running or None,
        "next": link,
        "links": {"self": path, "running": f"{path}/running", "jobs": f"{path}/jobs"},
    }
    return _json(b'%b,"entries":[%b]}' % (orjson.dumps(said)[:-1], b",".join(shown)))


@router.get(
    "/{thread_id}/running",
    response_model=Job,
    responses={204: {"description": "No turn runs."}, **describe_problems(404, 422)},
)
async def get_running_job(request: Request, thread_id: str, deps: Deps) -> Response:
    """Returns the job whose turn runs."""
    ref = await ref_of(deps, request, thread_id)
    running = await deps.threads.running(ref)
    record = None if running is None else await deps.log.record(running)
    if record is None or record.ended:
        return Response(status_code=204)
    await deps.authorize_watch(request, record.id)
    return _json(await job_json(request, deps, record, await deps.waits.of(record)))


@router.get("/{thread_id}/jobs", response_model=JobList, responses=describe_problems(400, 422))
async def list_thread_jobs(
    request: Request,
    thread_id: str,
    deps: Deps,
    *,
    limit: Annotated[int, Query(ge=1, le=_MAX_LIMIT)] = 50,
    before: Annotated[str | None, Query(description="From the `next` of the previous page.")] = None,
) -> Response:
    """Lists the thread's jobs, newest first. A page may hold fewer than `limit`, or none, and have a `next`."""
    shows = await deps.policy.list(request.headers)
    ref = await ref_of(deps, request, thread_id)
    filters = Filters(None, None, None, None, shows, thread=ref.digest)
    cursor = None if before is None else parse_cursor(before)
    page = await read_page(deps, cursor, limit, filters, check=partial(check_presence, request))
    root = root_path_of(request)
    link = None
    if page.next is not None:
        link = f"{_path(request, ref)}/jobs?{urlencode({'before': page.next, 'limit': limit}, safe=':')}"
    jobs = [job_response(record, None, root_path=root) for record in page.records]
    return _json(orjson.dumps({"jobs": jobs, "next": link}))


@router.delete("/{thread_id}", status_code=204, response_class=Response, responses=describe_problems(404, 422))
async def erase_thread(request: Request, thread_id: str, deps: Deps) -> Response:
    """Erases a thread and all its jobs; those that have not ended are cancelled. A repeat completes an erase that broke
    off."""
    ref = await ref_of(deps, request, thread_id)
    await erase(deps, request, ref)
    return Response(status_code=204)


async def ref_of(deps: Dependencies, request: Request, thread_id: str) -> ThreadRef:
    """Returns the caller's thread of this name: threads belong to the pairs that the policy gives to a submit.

    Raises as the policy's `submit` does.
    """
    return ThreadRef.of(thread_id, await deps.policy.submit(request.headers))


async def thread_of(deps: Dependencies, ref: ThreadRef) -> Thread:
    thread = await deps.threads.get(ref)
    if thread is None:
        raise ThreadNotFound(f"Thread {ref.id} does not exist.")
    return thread


async def erase(deps: Dependencies, request: Request, ref: ThreadRef) -> None:
    """Erases the thread's jobs, then the thread. Raises ThreadNotFound."""
    await thread_of(deps, ref)
    jobs = await deps.threads.jobs(ref)
    gone = set(await deps.log.missing(jobs))
    for job_id in jobs:
        if job_id not in gone:
            await deps.authorize_change(request, job_id)
    # The newest first: none of those that wait is to run when the running one ends.
    await _erase_jobs(deps, jobs[::-1])
    later = set(await deps.threads.erase(ref)) - set(jobs)
    await _erase_jobs(deps, later)


async def _erase_jobs(deps: Dependencies, job_ids: list[str] | set[str]) -> None:
    for job_id in job_ids:
        with suppress(JobNotFound):  # expired
            await job_ending.erase(deps, job_id)


def _path(request: Request, ref: ThreadRef) -> str:
    return f"{root_path_of(request)}/v1/threads/{quote(ref.id, safe='')}"


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


add_head_routes(router)
