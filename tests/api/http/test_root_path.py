"""Behind a path prefix, every address that the API names leads back to the API."""

from __future__ import annotations

import re

import httpx2
import pytest

from readalong.api.http.root_path import OWN_SEGMENTS
from tests.api.serving import a_site, on_valkey, short_settings

pytestmark = on_valkey

BODY = {"messages": [{"role": "user", "content": "hi"}]}


async def follow(root: str, prefix: str, http: httpx2.AsyncClient) -> None:
    """Requests every page under `prefix`, and every address in the responses."""
    made = await http.post(f"{prefix}/v1/jobs", json=BODY, headers={"Origin": str(http.base_url).rstrip("/")})
    assert made.status_code == 202, made.text
    job_id = made.json()["id"]
    links = made.json()["links"]
    assert made.headers["location"] == links["self"] == f"{root}/v1/jobs/{job_id}"
    assert links["events"] == f"{root}/v1/jobs/{job_id}/events"
    assert (await http.post(f"{prefix}/v1/jobs/{job_id}/cancel")).json()["links"] == links
    await http.post(f"{prefix}/v1/jobs", json=BODY)
    listed = (await http.get(f"{prefix}/v1/jobs?limit=1")).json()
    assert listed["next"].startswith(f"{root}/v1/jobs?before=")
    # The pages have relative addresses, which work under any prefix.
    for page in ("docs", "inspect", ""):
        files = re.findall(r'(?:src|href)="(page/[^"]+)"', (await http.get(f"{prefix}/{page}")).text)
        assert [(await http.get(f"{prefix}/{file}")).status_code for file in files] == [200] * len(files) != []
    spec = (await http.get(f"{prefix}/openapi.json")).json()
    assert spec["servers"] == [{"url": root}]
    assert {path.split("/")[1] for path in spec["paths"]} <= OWN_SEGMENTS
    assert (await http.get(f"{prefix}/healthz")).status_code == 200
    assert (await http.get(f"{prefix}/nowhere")).status_code == 404


@pytest.mark.parametrize("root", ["/ai", "/chat", "/v1", "/a/b-c.d"])
async def test_behind_a_proxy_that_takes_the_prefix_off_all_addresses_have_it(redis_url: str, root: str) -> None:
    """Also if the prefix begins like one of the API's own paths."""
    async with a_site(short_settings(redis_url, root_path=root)) as site:
        await follow(root, "", site.http)
        async with site.http.stream("POST", "/chat/stream", json=BODY) as answer:
            assert answer.headers["location"] == f"{root}/v1/jobs/{answer.headers['x-job-id']}"
        if root in ("/ai", "/a/b-c.d"):
            await follow(root, root, site.http)  # the proxy may also leave the prefix
        else:
            assert (await site.http.get(f"{root}/healthz")).status_code == 404


async def test_a_prefix_that_a_client_claims_counts_for_nothing(redis_url: str) -> None:
    """Otherwise a client's prefix in `next` or `Location` would lead other clients astray."""
    async with a_site(short_settings(redis_url)) as site:
        made = await site.http.post("/v1/jobs", json=BODY, headers={"X-Forwarded-Prefix": "//evil.example"})
        assert made.headers["location"].startswith("/v1/jobs/")
