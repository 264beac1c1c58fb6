"""The API refuses a `Host` that is not its own on every path: DNS rebinding reaches nothing."""

from __future__ import annotations

import pytest

from readalong.api import server
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.routes.test_submit import problem
from tests.api.serving import a_site, on_valkey, short_settings

#: Headers that a browser can send for a page of the same site.
OURS = [
    "localhost",
    "LocalHost:8000",
    "localhost.",
    "chat.localhost:8000",
    "127.0.0.1",
    "127.8.9.10:8000",
    "[::1]:8000",
    "[::ffff:127.0.0.1]",
    "192.168.1.5:8000",
]
#: Foreign names, and names that only look like allowed names or addresses.
OTHERS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "notlocalhost",
    "127.0.0.1.evil.example",
    "1.2.3",
    "app.example@evil.example",
    "evil.example/app.example",
    "evil.example#app.example",
    "app.example:8000:80",
    "::1",
    "[evil.example]",
    "app.example.evil.example",
    "notapp.example",
    "x" * 3000,
    "",
]
#: Allowed by `app.example, *.b.example`.
NAMED = ["app.example", "APP.example:443", "app.example.", "a.b.example", "a.a.b.example:8000"]


@on_valkey
@pytest.mark.parametrize("hosts", ["", "app.example, *.b.example", "*"])
async def test_a_name_is_served_if_it_is_a_loopback_name_an_address_or_named(redis_url: str, hosts: str) -> None:
    """Port and case do not matter."""
    async with a_site(short_settings(redis_url, hosts=hosts)) as site:
        for host in (*OURS, *OTHERS, *NAMED, "b.example"):
            answer = await site.http.get("/v1/jobs", headers={"Host": host})
            served = host in OURS or hosts == "*" or (host in NAMED and bool(hosts))
            assert answer.status_code == (200 if served else 421), host


@on_valkey
@pytest.mark.parametrize("root", ["", "/ai"])
async def test_a_page_of_another_name_reads_and_erases_nothing(redis_url: str, log: Log, root: str) -> None:
    """With DNS rebinding, `Origin`, `Host` and address agree: the page is of the API's own site, except for the
    name. Only the probes of a load balancer get an answer, which names no job."""
    player = await Player.start(log)
    own = f"/v1/jobs/{player.job_id}"
    calls = [
        ("GET", path) for path in ("/", "/docs", "/openapi.json", "/page/main.js", "/v1/jobs", own, f"{own}/events")
    ]
    calls += [("DELETE", own), ("POST", f"{own}/cancel"), ("POST", "/chat/stream"), ("OPTIONS", own), ("GET", "/no")]
    page = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    async with a_site(short_settings(redis_url, root_path=root, origins="http://evil.example")) as site:
        for method, path in calls:
            refused = problem(await site.http.request(method, root + path, headers=page), 421, "forbidden_host")
            assert "'evil.example'" in refused.detail
            assert "READALONG_HOSTS" in refused.detail
        for path in ("/healthz", "/readyz"):
            assert (await site.http.get(root + path, headers=page)).status_code in (200, 503)
            assert (await site.http.get(path, headers=page)).status_code in (200, 503)
        assert (await site.http.get(own)).json()["status"] == "running"


@pytest.mark.parametrize(
    ("host", "names"), [("localhost", {"localhost"}), ("127.0.0.1", {"127.0.0.1"}), ("::1", set())]
)
def test_the_name_that_it_was_told_to_listen_on_is_its_own(
    host: str, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Settings] = []

    def serve(settings: Settings, _: object) -> int:
        served.append(settings)
        return 0

    monkeypatch.setattr(server, "_serve", serve)
    assert server.run(Settings(), host=host, port=0) == 0
    assert served[0].allowed_hosts == names
