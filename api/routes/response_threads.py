"""The thread that a response continues: that of a conversation, or of the response before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from readalong.api.dependencies import Dependencies
from readalong.api.routes.response_reading import find_response, job_id_of
from readalong.api.submission import openai_mistakes as check
from readalong.api.submission.responses_request import ResponsesRequest, conversation_of
from readalong.core.errors import InvalidRequest, JobNotFound, ThreadBusy, ThreadNotFound
from readalong.core.thread_entries import Entry
from readalong.store.threads import ThreadRef, Turn


async def conversation(deps: Dependencies, body: dict[str, Any], pairs: Mapping[str, str]) -> ThreadRef | None:
    """Returns the conversation that a request names. `pairs`: the policy's.

    Raises InvalidRequest, and ThreadNotFound in OpenAI's words.
    """
    name = conversation_of(body)
    if name is None or body.get("previous_response_id") is not None:  # `translate` refuses both
        return None
    try:
        thread = ThreadRef.of(name, pairs)
    except InvalidRequest:
        raise check.mistake("Invalid 'conversation': not an ID.", "invalid_value", "conversation") from None
    if await deps.threads.get(thread) is None:
        raise ThreadNotFound(f"Conversation with id '{name[:100]}' not found.")
    return thread


async def followed(
    request: Request, deps: Dependencies, asked: ResponsesRequest, pairs: Mapping[str, str]
) -> tuple[str, ThreadRef] | None:
    """Returns the job and the thread of the response that this one follows. Raises InvalidRequest if the client may not
    see it, or it is not stored."""
    given = asked.previous_response_id
    if given is None:
        return None
    try:
        job_id = job_id_of(given)
        await deps.authorize_watch(request, job_id)
        record = (await find_response(deps, job_id)).record
    except JobNotFound:
        record = None
    if record is None or not record.thread or ThreadRef.of(record.thread, pairs).digest != record.thread_digest:
        message = f"Previous response with id '{given[:100]}' not found."
        raise check.mistake(message, "previous_response_not_found", "previous_response_id")
    return record.id, ThreadRef(record.thread, record.thread_digest)


def turn_of(asked: ResponsesRequest, parent: tuple[str, ThreadRef] | None) -> Turn | None:
    """Returns the turn of a stored response: each has a thread, so that another one can follow it."""
    if not asked.store:
        return None
    job_id = "" if parent is None else parent[0]
    return Turn(asked.entries, asked.conversation or "", asked.thread_policy, job_id, asked.leading)


async def history(deps: Dependencies, thread: ThreadRef | None, parent: tuple[str, ThreadRef] | None) -> list[Entry]:
    """Returns the entries before a response that is not stored: its thread does not learn of it. Raises ThreadBusy."""
    if parent is None:
        return [] if thread is None else await deps.threads.entries(thread)
    job_id, ref = parent
    entries = await deps.threads.entries_up_to(ref, job_id)
    if entries is None:
        raise ThreadBusy(f"Response 'resp_{job_id}' has not ended.", job_id=job_id)
    return entries
