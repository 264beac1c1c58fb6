"""Fields of a job's hash that one call reads: a call that meets a broken one says so."""

from __future__ import annotations

import pytest

from readalong.core.settings import Settings
from tests.api.helpers import Player
from tests.api.routes.test_submit import BODY
from tests.api.serving import a_site, on_valkey

pytestmark = on_valkey

#: The field, and the call: its method and its path.
CALLS = (
    ("request", "POST", "/v1/jobs/{id}/retry"),
    ("request", "GET", "/v1/chat/completions/chatcmpl-{id}/messages"),
    ("response", "POST", "/v1/responses/resp_{id}/cancel"),
    ("response_input", "GET", "/v1/responses/resp_{id}/input_items"),
    ("ag_ui_run", "GET", "/agui/runs/{id}"),
    ("ai_sdk_message", "GET", "/api/chat/{id}/stream"),
)


async def test_a_call_names_the_job_whose_field_it_cannot_read(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_site(settings.model_copy(update={"keep_request": True})) as site:
        job_id = (await site.http.post("/v1/jobs", json=BODY)).json()["id"]
        await (await Player.start(site.deps.log, job_id)).finish()
        name = settings.keys.job(job_id)
        for field in ("ag_ui_messages", *(field for field, _, _ in CALLS)):
            await site.deps.redis.command("HSET", name, field, b"[")
        for field, method, path in CALLS:
            answer = await site.http.request(method, path.format(id=job_id))
            assert (answer.status_code, job_id in answer.text) == (500, True), (field, answer.text)
        await site.deps.redis.command("DEL", settings.keys.events(job_id))
        entries = (("1-0", "queued", "{}"), ("2-0", "started", "["), ("3-0", "done", '{"content":""}'))
        for number, kind, data in entries:
            await site.deps.redis.command("XADD", settings.keys.events(job_id), number, "type", kind, "data", data)
        answer = await site.http.get(f"/v1/jobs/{job_id}?include=timeline")
        assert (answer.status_code, answer.json()["code"]) == (500, "broken_job")
        assert "Traceback" not in caplog.text
