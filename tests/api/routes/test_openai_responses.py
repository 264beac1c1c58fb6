"""`/v1/responses`, asked by openai-python."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import orjson
import pytest

from readalong.core.events import NewEvent
from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.helpers import Player
from tests.api.serving import Site, a_site, on_valkey
from tests.support.waiting import until

pytestmark = on_valkey


def client_of(site: Site) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{site.port}/v1", api_key="k", max_retries=0)


async def test_try(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, client_of(site) as client:
        response = await client.responses.create(model="m", input="hi", background=True)
        assert response.status == "queued"
        job = response.id.removeprefix("resp_")
        player = await Player.start(log, job)
        await player.say(2)
        got = await client.responses.retrieve(response.id)
        assert got.status == "in_progress" and got.output_text == "3 4 "
        stream = await client.responses.retrieve(response.id, stream=True, starting_after=3)
        await player.finish(finish_reason="stop")
        events = [event async for event in stream]
        print([e.sequence_number for e in events])
        assert [e.sequence_number for e in events] == list(range(4, 12))
        async with client.responses.stream(response_id=response.id, starting_after=3) as s:
            final = await s.get_final_response()
        assert final.output_text == "3 4 "
        items = await client.responses.input_items.list(response.id)
        print(items)
        with pytest.raises(openai.BadRequestError) as e:
            await client.responses.cancel(response.id)
        print(e.value.body)
        await client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError) as e:
            await client.responses.retrieve(response.id)
        print(e.value.body)
