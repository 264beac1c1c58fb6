"""What is stored of chat completions, through OpenAI's own SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai
import pytest
from starlette.datastructures import Headers

from readalong.api.auth.policy import AllowAll
from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.routes.test_openai_chat import MESSAGES, sdk
from tests.api.serving import Site, a_site, on_valkey, short_settings
from tests.readalong.jobs import queued

pytestmark = on_valkey


async def stored(site: Site, log: Log, text: str, **body: Any) -> str:
    """A completion that is done. Returns its id."""
    answer = await site.http.post("/v1/jobs", json={"messages": MESSAGES, **body})
    player = await Player.start(log, answer.json()["id"])
    await player.append(NewEvent("content", {"content": text}))
    await player.finish(finish_reason="stop", content=text)
    await site.deps.index.refile(player.job_id)  # as its worker does
    return f"chatcmpl-{player.job_id}"


async def test_a_list_has_pages_an_order_and_filters(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, sdk(site) as client:
        made = [
            await stored(site, log, f"{n}", model="m" if n % 2 else "other", metadata={"user": "ann" if n < 3 else "b"})
            for n in range(5)
        ]
        await queued(log)  # one that is not done
        completions = client.chat.completions
        assert [each.id async for each in completions.list(limit=2)] == made
        newest = await completions.list(limit=2, order="desc")
        assert ([each.id for each in newest.data], newest.has_more) == ([made[4], made[3]], True)
        assert [each.choices[0].message.content for each in newest.data] == ["4", "3"]
        assert [each.id async for each in completions.list(order="desc", after=made[2])] == [made[1], made[0]]
        assert [each.id async for each in completions.list(model="m")] == [made[1], made[3]]
        assert [each.id async for each in completions.list(metadata={"user": "ann"}, limit=1)] == made[:3]
        with pytest.raises(openai.BadRequestError) as raised:
            await completions.list(after="chatcmpl-nothing")
        assert raised.value.param == "after"
        with pytest.raises(openai.BadRequestError) as raised:
            await completions.list(limit=1000)
        assert raised.value.param == "limit"


async def test_a_list_ends_after_so_many_bytes(settings: Settings, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readalong.api.routes.openai_completions._MAX_LIST_BYTES", 2000)
    async with a_site(settings) as site, sdk(site) as client:
        made = [await stored(site, log, "x" * 1500) for _ in range(3)]
        page = await client.chat.completions.list()
        assert ([each.id for each in page.data], page.has_more) == (made[:1], True)
        assert [each.id async for each in client.chat.completions.list()] == made


async def test_metadata_can_be_replaced_and_a_completion_erased(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, sdk(site) as client:
        completion_id = await stored(site, log, "a", metadata={"old": "1"})
        updated: Any = await client.chat.completions.update(completion_id, metadata={"new": "2"})
        assert updated.metadata == {"new": "2"}
        again: Any = await client.chat.completions.retrieve(completion_id)
        assert again.metadata == {"new": "2"}
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.update(completion_id, metadata={f"{n}": "" for n in range(17)})
        assert raised.value.param == "metadata"
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.update(completion_id, metadata=None, extra_body={"model": "m"})
        assert (raised.value.param, raised.value.code) == ("model", "unknown_parameter")
        deleted = await client.chat.completions.delete(completion_id)
        assert (deleted.id, deleted.deleted, deleted.object) == (completion_id, True, "chat.completion.deleted")
        for call in (client.chat.completions.retrieve, client.chat.completions.delete):
            with pytest.raises(openai.NotFoundError) as gone:
                await call(completion_id)
            assert gone.value.message.endswith(f"Chat completion with id '{completion_id}' not found.")


async def test_one_that_has_not_ended_shows_what_it_says_so_far(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, sdk(site) as client:
        player = await Player.start(log)
        await player.say(2)
        running: Any = await client.chat.completions.retrieve(f"chatcmpl-{player.job_id}")
        assert running.choices[0].message.content == "3 4 "
        assert running.choices[0].finish_reason is None
        assert running.readalong == {"status": "running", "error": None, "job": f"/v1/jobs/{player.job_id}"}


async def test_messages_are_there_while_the_request_is_kept(redis_url: str, log: Log) -> None:
    parts: list[Any] = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    messages = [*MESSAGES, {"role": "assistant", "content": "yes?"}, {"role": "user", "content": parts}]
    async with a_site(short_settings(redis_url, keep_request=True)) as site, sdk(site) as client:
        completion_id = await stored(site, log, "a", messages=messages)
        listed = [each async for each in client.chat.completions.messages.list(completion_id, limit=2)]
        assert [each.content for each in listed] == ["hi", "yes?", "see"]
        assert [each.id for each in listed] == [f"{completion_id}-{n}" for n in range(3)]
        assert [part.type for part in listed[2].content_parts or []] == ["text", "image_url"]
        page = await client.chat.completions.messages.list(completion_id, limit=1, order="desc")
        assert (page.data[0].id, page.has_more) == (listed[2].id, True)
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.messages.list(completion_id, after="x")
    async with a_site(short_settings(redis_url)) as site, sdk(site) as client:
        completion_id = await stored(site, log, "a")
        with pytest.raises(openai.NotFoundError, match="READALONG_KEEP_REQUEST"):
            await client.chat.completions.messages.list(completion_id)


class Owned(AllowAll):
    """Everything may be done, and each job has the policy's mark."""

    async def submit(self, headers: Headers) -> Mapping[str, str]:
        return {"owner": "policy"}


async def test_an_update_does_not_change_the_pairs_of_the_policy(settings: Settings, log: Log) -> None:
    async with a_site(settings, Owned()) as site, sdk(site) as client:
        completion_id = await stored(site, log, "a", metadata={"owner": "me", "old": "1"})
        updated: Any = await client.chat.completions.update(completion_id, metadata={"owner": "me", "a": "b"})
        assert updated.metadata == {"owner": "policy", "a": "b"}


async def test_models_are_those_of_the_setting_or_the_default(redis_url: str) -> None:
    async with a_site(short_settings(redis_url, models="a, org/b,a")) as site, sdk(site) as client:
        assert [model.id async for model in client.models.list()] == ["a", "org/b"]
        assert [(await client.models.retrieve(name)).id for name in ("a", "org/b")] == ["a", "org/b"]
        assert (await site.http.get("/v1/models/org/b")).json()["id"] == "org/b"
        with pytest.raises(openai.NotFoundError) as raised:
            await client.models.retrieve("c")
        assert (raised.value.code, raised.value.param, raised.value.type) == (
            "model_not_found",
            "model",
            "invalid_request_error",
        )
    async with a_site(short_settings(redis_url)) as site, sdk(site) as client:
        assert [model.id async for model in client.models.list()] == ["gpt-5-mini"]
