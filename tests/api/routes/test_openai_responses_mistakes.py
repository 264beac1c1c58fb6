"""What `/v1/responses` refuses, and how it says so: as OpenAI's API does."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from readalong.core.settings import Settings
from readalong.store.log import Log
from tests.api.routes.test_openai_responses import background, client_of, first_response
from tests.api.serving import a_site, on_valkey

pytestmark = on_valkey

UNKNOWN = f"resp_{'x' * 22}"
#: Method, path, body; status, type, code, param and what the message says.
WRONG: list[tuple[str, str, Any, tuple[int, str | None, str | None], str]] = [
    ("GET", f"/{UNKNOWN}", None, (404, None, None), f"Response with id '{UNKNOWN}' not found."),
    ("GET", f"/{UNKNOWN}?stream=true", None, (404, None, None), "not found"),
    ("GET", f"/{UNKNOWN}/input_items", None, (404, None, None), "not found"),
    ("POST", f"/{UNKNOWN}/cancel", None, (404, None, None), "not found"),
    ("GET", "/chatcmpl-1", None, (400, "invalid_value", "response_id"), "begins with 'resp'"),
    ("GET", "/resp_a%20b", None, (404, None, None), "not found"),
    ("GET", f"/{UNKNOWN}?stream=maybe", None, (400, "invalid_type", "stream"), "expected a boolean"),
    ("GET", f"/{UNKNOWN}?stream=true&starting_after=x", None, (400, "invalid_type", "starting_after"), "an integer"),
    ("GET", f"/{UNKNOWN}?starting_after=-1", None, (400, "integer_below_min_value", "starting_after"), ">= 0"),
    ("GET", f"/{UNKNOWN}?include=x", None, (400, "invalid_value", "include"), "'message.output_text.logprobs'"),
    ("GET", f"/{UNKNOWN}/input_items?limit=101", None, (400, "integer_above_max_value", "limit"), "<= 100"),
    ("GET", f"/{UNKNOWN}/input_items?order=up", None, (400, "invalid_value", "order"), "'asc' and 'desc'"),
    ("POST", "", {"messages": []}, (400, "unsupported_parameter", "messages"), "has moved to 'input'"),
    ("POST", "", {"input": "a", "previous_response_id": UNKNOWN}, (
        400, "previous_response_not_found", "previous_response_id"), "not found"),
    ("POST", "", {"input": "a", "conversation": "conv_x"}, (404, None, None), "with id 'conv_x' not found."),
    ("POST", "", {"input": "a", "conversation": "c", "previous_response_id": "r"}, (
        400, "mutually_exclusive_parameters", "conversation"), "only providing one of"),
    ("POST", "", {"input": "a", "store": False, "background": True}, (
        400, "unsupported_parameter", "background"), "'store'"),
    ("POST", "", {"input": "a", "model": ""}, (400, "invalid_value", "model"), "at least 1 character"),
    ("POST", "", {"input": "a", "readalong": {"deadline": 0}}, (400, "invalid_value", "deadline"), "greater than 0"),
    ("POST", "", b"{", (400, None, None), "JSON"),
]  # fmt: skip


async def test_each_mistake_is_told_as_openai_tells_it(settings: Settings) -> None:
    """And never to be repeated."""
    async with a_site(settings) as site:
        for method, path, body, wanted, says in WRONG:
            more: dict[str, Any] = (
                {"content": body} if isinstance(body, bytes) else {} if body is None else {"json": body}
            )
            answer = await site.http.request(
                method, f"/v1/responses{path}", **more, headers={"content-type": "application/json"}
            )
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["param"]) == wanted, (path, error)
            assert error["type"] == "invalid_request_error"
            assert says in error["message"]
            assert answer.headers["x-should-retry"] == "false"
            assert answer.headers["x-request-id"].startswith("req_")


async def test_a_cancel_that_is_refused_says_why(settings: Settings, log: Log) -> None:
    async with a_site(settings) as site, client_of(site) as client:
        stream = await client.responses.create(model="m", input="hi", stream=True)
        first = await first_response(stream)
        ended, player = await background(client, log)
        await player.finish()
        broken, player = await background(client, log)
        await player.finish("failed", error={"code": "c", "message": "m", "retryable": False})
        for response, why in ((first, "synchronous"), (ended, "completed"), (broken, "failed")):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.cancel(response.id)
            assert refused.value.body == {
                "message": f"Cannot cancel a {why} response.",
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        await stream.close()


async def test_a_response_may_follow_one_that_failed(settings: Settings, log: Log) -> None:
    """It follows what was said before that one."""
    async with a_site(settings) as site, client_of(site) as client:
        first, player = await background(client, log)
        await player.say(2)
        await player.finish()
        failed, player = await background(client, log, previous_response_id=first.id)
        await player.finish("failed", error={"code": "c", "message": "m", "retryable": False})
        after = await client.responses.create(model="m", input="again", background=True, previous_response_id=failed.id)
        assert (after.status, after.previous_response_id) == ("queued", failed.id)
