"""Every request asks the policy, and a denied request learns nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pytest
from arq.connections import ArqRedis
from starlette.datastructures import Headers

from readalong.api.app import create_app
from readalong.api.auth.policy import Forbidden, Job, Unauthorized
from readalong.core.errors import StoreUnavailable
from readalong.core.keys import new_job_id
from readalong.core.settings import Settings
from readalong.store.job_record import Record
from readalong.store.log import Log
from tests.api.serving import Site, a_site, on_valkey
from tests.readalong.jobs import WORKER
from tests.support.waiting import until

pytestmark = on_valkey

BODY = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"owner": "ann", "ticket": "7"}}
ANN, BOB = {"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}
#: May operate and see all jobs in a list, and nothing else.
OPS = {"Authorization": "Bearer ops"}
#: All requests about one job.
OF_A_JOB = (
    ("GET", ""),
    ("HEAD", ""),
    ("GET", "/events"),
    ("HEAD", "/events"),
    ("POST", "/cancel"),
    ("POST", "/retry"),
    ("DELETE", ""),
)
#: All requests that name no job.
OF_NONE = (
    *(("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("HEAD", "/v1/jobs"), ("POST", "/chat/stream")),
    *(("GET", "/v1/status"), ("GET", "/v1/stats"), ("GET", "/v1/changes")),
)


class Owners:
    """A policy: a job belongs to its owner, whose API key is the owner's name. `hides`: other owners get a 404."""

    def __init__(self, *, hides: bool) -> None:
        self.hides = hides

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {"owner": self._owner(headers)}

    async def watch(self, headers: Headers, job: Job) -> None:
        await self._check(headers, job)

    async def change(self, headers: Headers, job: Job) -> None:
        await self._check(headers, job)

    async def list(self, headers: Headers) -> Callable[[Record], bool]:
        if headers.get("authorization") == OPS["Authorization"]:
            return lambda _: True
        owner = self._owner(headers)
        return lambda record: record.metadata.get("owner") == owner

    async def operate(self, headers: Headers) -> None:
        if headers.get("authorization") != OPS["Authorization"]:
            self._owner(headers)
            raise Forbidden

    async def _check(self, headers: Headers, job: Job) -> None:
        owner, metadata = self._owner(headers), await job.metadata()
        if metadata is None or metadata.get("owner") != owner:
            raise Forbidden(hidden=self.hides)

    def _owner(self, headers: Headers) -> str:
        scheme, _, owner = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or owner not in ("ann", "bob"):
            raise Unauthorized
        return owner


def test_a_policy_that_lacks_a_method_is_refused_at_the_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was written before there was an `operate`."""
    monkeypatch.delattr(Owners, "operate")
    with pytest.raises(TypeError, match=r"Owners lacks operate\(\)"):
        create_app(settings, policy=Owners(hides=True))


async def submitted(site: Site, who: dict[str, str], **headers: str) -> str:
    made = await site.http.post("/v1/jobs", json=BODY, headers={**who, **headers})
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


async def asked(site: Site, method: str, path: str, who: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Returns status, headers without the date, and body."""
    content: Any = {"json": BODY} if method == "POST" and not path.endswith("/cancel") else {}
    answer = await site.http.request(method, path, headers=who, **content)
    return answer.status_code, dict(answer.headers), answer.content


async def test_without_credentials_every_route_is_a_401_in_the_problem_shape(
    settings: Settings, redis: ArqRedis
) -> None:
    async with a_site(settings, Owners(hides=True)) as site:
        job_id = await submitted(site, ANN)
        before = set(await redis.keys())
        for method, path in (*OF_NONE, *((method, f"/v1/jobs/{job_id}{rest}") for method, rest in OF_A_JOB)):
            status, headers, body = await asked(site, method, path, {})
            assert (status, headers["www-authenticate"]) == (401, "Bearer"), (method, path)
            assert headers["content-type"] == "application/problem+json"
            assert method == "HEAD" or b'"code":"unauthorized"' in body
        assert set(await redis.keys()) <= before  # keys of a second or so may go meanwhile


async def test_without_credentials_no_route_does_anything(settings: Settings, redis: ArqRedis) -> None:
    """Every route of the OpenAPI description, but for `/healthz` and `/readyz`, which say nothing about a job."""
    async with a_site(settings, Owners(hides=True)) as site:
        job_id = await submitted(site, ANN)
        before = set(await redis.keys())
        described = (await site.http.get("/openapi.json")).json()["paths"]
        names = {"completion_id": f"chatcmpl-{job_id}", "response_id": f"resp_{job_id}"}
        assert described.keys() > {"/healthz", "/readyz"}
        for path, methods in described.items():
            for method in methods if path not in ("/healthz", "/readyz") else ():
                asked_path = re.sub(r"\{(\w+)\}", lambda part: names.get(part[1], job_id), path)
                status, headers, _ = await asked(site, method.upper(), asked_path, {})
                assert (status, headers["www-authenticate"]) == (401, "Bearer"), (method, path)
        assert set(await redis.keys()) <= before  # keys of a second or so may go meanwhile


async def test_a_hidden_job_is_answered_as_one_that_there_never_was(settings: Settings) -> None:
    """Every route gives the same bytes for both. The owner may do everything."""
    async with a_site(settings.model_copy(update={"keep_request": True}), Owners(hides=True)) as site:
        job_id, never = await submitted(site, ANN), new_job_id()
        for method, rest in OF_A_JOB:
            status, headers, body = await asked(site, method, f"/v1/jobs/{job_id}{rest}", BOB)
            missing = await asked(site, method, f"/v1/jobs/{never}{rest}", BOB)
            assert (status, headers, body.replace(job_id.encode(), never.encode())) == missing, (method, rest)
            assert status == 404
        for method, rest in OF_A_JOB:
            if (method, rest) != ("GET", "/events"):  # no worker ends the job, so its stream goes on
                status, _, _ = await asked(site, method, f"/v1/jobs/{job_id}{rest}", ANN)
                assert status in (200, 202, 204), (method, rest)


async def test_a_job_that_is_not_hidden_is_forbidden(settings: Settings) -> None:
    async with a_site(settings, Owners(hides=False)) as site:
        job_id = await submitted(site, ANN)
        for method, rest in OF_A_JOB:
            status, _, body = await asked(site, method, f"/v1/jobs/{job_id}{rest}", BOB)
            assert status == 403, (method, rest)
            assert method == "HEAD" or b'"code":"forbidden"' in body
        assert (await site.http.get(f"/v1/jobs/{job_id}", headers=ANN)).json()["status"] == "queued"


async def test_an_owner_watches_its_job_to_its_end(settings: Settings) -> None:
    async with a_site(settings, Owners(hides=True)) as site:
        job_id = await submitted(site, ANN)
        async with await site.open(f"/v1/jobs/{job_id}/events", headers=["Authorization: Bearer ann"]) as stream:
            assert stream.status == 200
            assert (await site.http.post(f"/v1/jobs/{job_id}/cancel", headers=ANN)).status_code == 202
            assert [message.event for message in await stream.rest()] == ["queued", "cancelled"]


async def test_the_policys_pairs_win_over_the_clients_and_the_others_stay(settings: Settings, log: Log) -> None:
    """Both ways to submit: a client cannot give its job to another owner. The model gets the metadata that the
    client sent."""
    body = {**BODY, "store": True}
    async with a_site(settings, Owners(hides=True)) as site:
        made = await site.http.post("/v1/jobs", json=body, headers=BOB)
        async with site.http.stream("POST", "/chat/stream", json=body, headers=BOB) as stream:
            streamed = stream.headers["x-job-id"]
        for each in (made.json()["id"], streamed):
            shown = (await site.http.get(f"/v1/jobs/{each}", headers=BOB)).json()
            assert shown["metadata"] == {"owner": "bob", "ticket": "7"}
            claim = await log.claim(each, WORKER, "first")
            assert orjson.loads(claim.request)["metadata"] == BODY["metadata"]


async def test_two_owners_may_use_the_same_idempotency_key(settings: Settings) -> None:
    """Each key is its owner's alone: a repeat finds the owner's own job."""
    async with a_site(settings, Owners(hides=True)) as site:
        key = {"Idempotency-Key": "k"}
        first, second = await submitted(site, ANN, **key), await submitted(site, BOB, **key)
        assert first != second
        assert await submitted(site, ANN, **key) == first
        assert await submitted(site, BOB, **key) == second


async def test_a_list_shows_what_the_policy_shows_and_its_next_names_no_other_job(settings: Settings) -> None:
    """The pages skip the jobs of other owners."""
    async with a_site(settings, Owners(hides=True)) as site:
        mine, others = [], []
        for _ in range(3):
            mine.append(await submitted(site, ANN))
            others += [await submitted(site, BOB) for _ in range(2)]
        shown: list[str] = []
        path: str | None = "/v1/jobs?limit=1"
        while path is not None:
            page = (await site.http.get(path, headers=ANN)).json()
            shown += [job["id"] for job in page["jobs"]]
            path = page["next"]
            assert not any(other in (path or "") for other in others)
        assert shown == mine[::-1]


async def test_a_stream_that_waits_for_redis_asks_when_redis_is_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser's stream is kept while Redis is away, when the policy cannot read the job."""
    async with a_site(settings, Owners(hides=True)) as site:
        job_id = await submitted(site, ANN)
        with monkeypatch.context() as away:

            async def unavailable(self: Job) -> None:
                raise StoreUnavailable("away", retry_after=1)

            away.setattr(Job, "metadata", unavailable)
            headers = ["Accept: text/event-stream", "Authorization: Bearer bob"]
            stream = await site.open(f"/v1/jobs/{job_id}/events", headers=headers)
            assert stream.status == 200
            await until(lambda: len(site.hub.pending) == 1, "the request to wait")
        async with stream:
            assert await stream.rest() == []
