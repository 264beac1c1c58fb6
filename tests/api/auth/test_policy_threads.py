"""A thread is its owner's: of the pairs that the policy gives to a submit."""

from __future__ import annotations

import re
from typing import Any, Final

from readalong.core.settings import Settings
from tests.api.auth.test_policy_faces import ANN, BOB, Owners
from tests.api.serving import Site, a_site, on_valkey

pytestmark = on_valkey

CALLS: Final = (
    ("GET", "/v1/threads/t"),
    ("HEAD", "/v1/threads/t"),
    ("GET", "/v1/threads/t/running"),
    ("GET", "/v1/threads/t/jobs"),
    ("GET", "/v1/jobs?thread=t"),
    ("GET", "/v1/conversations/t"),
    ("POST", "/v1/conversations/t"),
    ("GET", "/v1/conversations/t/items"),
    ("POST", "/v1/conversations/t/items"),
    ("GET", "/v1/conversations/t/items/i"),
    ("DELETE", "/v1/conversations/t/items/i"),
    ("DELETE", "/v1/conversations/t"),
    ("DELETE", "/v1/threads/t"),
)


async def asked(site: Site, method: str, path: str, who: dict[str, str]) -> tuple[int, bytes]:
    body: dict[str, Any] = {"items": []} if path.endswith("/items") else {"metadata": {}}
    content: Any = {"json": body} if method == "POST" else {}
    answer = await site.http.request(method, path, headers=who, **content)
    return answer.status_code, answer.content


async def submitted(site: Site, thread: str, who: dict[str, str]) -> str:
    body = {"messages": [{"role": "user", "content": "hi"}], "thread": thread}
    made = await site.http.post("/v1/jobs", json=body, headers=who)
    assert made.status_code == 202, made.text
    return str(made.json()["id"])


async def test_without_credentials_every_call_is_a_401(settings: Settings) -> None:
    async with a_site(settings, Owners()) as site:
        await submitted(site, "t", ANN)
        for method, path in (*CALLS, ("POST", "/v1/conversations")):
            status, _ = await asked(site, method, path, {})
            assert status == 401, (method, path)


async def test_a_thread_of_another_is_answered_as_one_that_there_never_was(settings: Settings) -> None:
    """To the byte, and nothing happens to it."""
    async with a_site(settings, Owners()) as site:
        job_id = await submitted(site, "t", ANN)
        for method, path in CALLS:
            status, body = await asked(site, method, path, BOB)
            other = re.sub(r"/t\b|=t\b", lambda found: f"{found[0][0]}u", path)
            never, said = await asked(site, method, other, BOB)
            assert (status, body) == (never, re.sub(rb"\bu\b", b"t", said)), (method, path)
            assert job_id.encode() not in body
        await submitted(site, "t", BOB)
        assert (await site.http.get("/v1/threads/t", headers=ANN)).json()["running"] == job_id


async def test_an_owner_may_do_all_of_it(settings: Settings) -> None:
    async with a_site(settings, Owners()) as site:
        for method, path in CALLS:
            if "/items/" in path:
                continue  # there is no such item
            await site.http.post("/v1/conversations/t/items", json={"items": []}, headers=ANN)
            if (await site.http.get("/v1/threads/t", headers=ANN)).status_code == 404:
                await submitted(site, "t", ANN)
            status, body = await asked(site, method, path, ANN)
            assert status in (200, 204), (method, path, body)
