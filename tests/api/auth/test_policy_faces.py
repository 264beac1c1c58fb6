"""The policy decides over every path of a face, in the form of its clients' errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from arq.connections import ArqRedis
from starlette.datastructures import Headers

from readalong.api.auth.policy import Forbidden, Job, Unauthorized
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.store.job_record import Record
from tests.api.serving import Site, a_site, on_valkey

pytestmark = on_valkey

#: Stands for a name of the job in a path.
ID = "chatcmpl-{id}"
FACES_OF_A_JOB = (
    ("GET", f"/v1/chat/completions/{ID}"),
    ("HEAD", f"/v1/chat/completions/{ID}"),
    ("GET", f"/v1/chat/completions/{ID}/messages"),
    ("POST", f"/v1/chat/completions/{ID}"),
    ("DELETE", f"/v1/chat/completions/{ID}"),
)
FACES_OF_NONE = (
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
)
ANN, BOB = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}


class Owners:
    """A job is its owner's, whose key is the owner's name, and hidden from others."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {"owner": _owner(headers)}

    async def watch(self, headers: Headers, job: Job) -> None:
        owner, metadata = _owner(headers), await job.metadata()
        if metadata is None or metadata.get("owner") != owner:
            raise Forbidden(hidden=True)

    change = watch

    async def list(self, headers: Headers) -> Callable[[Record], bool]:
        owner = _owner(headers)
        return lambda record: record.metadata.get("owner") == owner

    async def operate(self, headers: Headers) -> None:
        _owner(headers)


def _owner(headers: Headers) -> str:
    owner = headers.get("authorization", "").removeprefix("Bearer ")
    if owner not in ("ann", "bob"):
        raise Unauthorized
    return owner


async def asked(site: Site, method: str, path: str, who: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Status, headers but for the request's own name, and body."""
    content: Any = {"json": {"metadata": {}}} if method == "POST" else {}
    answer = await site.http.request(method, path, headers=who, **content)
    return answer.status_code, {**answer.headers, "x-request-id": ""}, answer.content


async def submitted(site: Site) -> str:
    made = await site.http.post("/v1/jobs", json={"messages": [{"role": "user", "content": "hi"}]}, headers=ANN)
    return str(made.json()["id"])


async def test_without_credentials_every_path_is_a_401(settings: Settings, redis: ArqRedis) -> None:
    async with a_site(settings, Owners()) as site:
        job_id = await submitted(site)
        before = set(await redis.keys())
        for method, path in (*FACES_OF_NONE, *FACES_OF_A_JOB):
            status, headers, body = await asked(site, method, path.replace("{id}", job_id), {})
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), (method, path)
            assert method == "HEAD" or b'"code":"invalid_api_key"' in body
        assert set(await redis.keys()) <= before  # keys of a second or so may go meanwhile


async def test_a_hidden_job_is_answered_as_one_that_there_never_was(settings: Settings) -> None:
    async with a_site(settings, Owners()) as site:
        job_id, never = await submitted(site), new_job_id()
        for method, path in FACES_OF_A_JOB:
            status, headers, body = await asked(site, method, path.replace("{id}", job_id), BOB)
            missing = await asked(site, method, path.replace("{id}", never), BOB)
            assert (status, headers, body.replace(job_id.encode(), never.encode())) == missing, (method, path)
            assert status == 404
        for method, path in FACES_OF_A_JOB:
            status, _, _ = await asked(site, method, path.replace("{id}", job_id), ANN)
            assert status == 200, (method, path)
