"""openai-python while workers and APIs are killed and replies are lost."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import openai

from tests.clients.asked import answer, job_for, messages, paced, question
from tests.clients.openai_python import client_of
from tests.e2e.jobs import Job
from tests.e2e.test_worker_loss import alone
from tests.support.client import call
from tests.support.proxy import Proxy
from tests.support.stack import Stack
from tests.support.waiting import until

KINDS = ("sync", "async")


class Chunks:
    """What a stream of chat completions said, and how it ended."""

    def __init__(self) -> None:
        self.text = ""
        self.error: openai.APIError | None = None

    async def read(self, kind: str, url: str, **body: Any) -> None:
        async with client_of(kind, url, max_retries=2) as client:
            try:
                async for chunk in await client.chat.completions.create(stream=True, **body):
                    self.text += chunk.choices[0].delta.content or ""
            except openai.APIError as error:
                self.error = error


class Events:
    """The events of one response: a client that has lost its stream asks for what follows the last number, at the
    other replica.
    """

    def __init__(self, kind: str, urls: list[str]) -> None:
        self.kind = kind
        self.urls = urls
        self.seen: list[Any] = []
        self.cuts = 0

    @property
    def id(self) -> str:
        return str(self.seen[0].response.id)

    @property
    def text(self) -> str:
        """The text by the rule for clients without a helper: `in_progress` voids what was said before it."""
        said = ""
        for event in self.seen:
            if event.type == "response.in_progress":
                said = ""
            elif event.type == "response.output_text.delta":
                said += event.delta
        return said

    async def read(self, **body: Any) -> None:
        """Creates the response, and reads it to its end."""
        turn = 0
        while not self.seen or self.seen[-1].type != "response.completed":
            async with client_of(self.kind, self.urls[turn % len(self.urls)]) as client:
                try:
                    if not self.seen:
                        stream = await client.responses.create(stream=True, background=True, **body)
                    else:
                        last = self.seen[-1].sequence_number
                        stream = await client.responses.retrieve(self.id, stream=True, starting_after=last)
                    async for event in stream:
                        self.seen.append(event)
                except openai.APIError:
                    self.cuts += 1
            turn += 1

    def assert_whole(self, expected: str) -> None:
        assert [event.sequence_number for event in self.seen] == list(range(len(self.seen)))
        assert self.text == self.seen[-1].response.output_text == expected


async def test_a_killed_workers_answers_have_one_text_in_each_face(stack: Stack) -> None:
    """Chat completions: a stream ends by an exception that says where it goes on; a whole answer only takes longer; a
    job that is not to be repeated fails. Responses: the text of the second attempt, by events and by the helper.
    """
    victim, successor = await alone(stack)
    asked, model = question(), paced(tokens=150, rate=50)
    body: dict[str, Any] = {"model": model, "messages": messages(asked)}
    once = {"readalong": {"on_worker_lost": "fail"}}
    streams = [Chunks() for _ in KINDS]
    failing = Chunks()
    watched = [Events(kind, stack.urls) for kind in KINDS]
    tasks = [
        *(asyncio.create_task(each.read(kind, stack.url, **body)) for kind, each in zip(KINDS, streams, strict=True)),
        asyncio.create_task(failing.read("async", stack.url, **body, extra_body=once)),
        *(asyncio.create_task(each.read(model=model, input=asked)) for each in watched),
    ]

    async def whole(kind: str) -> str:
        async with client_of(kind, stack.urls[1]) as client:
            found = await client.chat.completions.create(**body)
            return str(found.choices[0].message.content)

    async def helped(kind: str, response_id: str) -> str:
        async with (
            client_of(kind, stack.urls[1]) as client,
            client.responses.stream(response_id=response_id, starting_after=5) as stream,
        ):
            return str((await stream.get_final_response()).output_text)

    waiting = [asyncio.create_task(whole(kind)) for kind in KINDS]
    reading: list[Chunks | Events] = [*streams, failing, *watched]

    def all_speak() -> bool:
        return all(len(each.text) > 20 for each in reading)

    await until(all_speak, "text")
    helping = [asyncio.create_task(helped(kind, watched[0].id)) for kind in KINDS]
    await until(lambda: len(stack.generations(asked)) == 7, "all calls")
    victim.kill()
    successor.cont()
    await asyncio.gather(*tasks)
    expected = answer(model, asked)
    assert await asyncio.gather(*waiting, *helping) == [expected] * 4
    for each in watched:
        each.assert_whole(expected)
        assert [event.type for event in each.seen].count("response.in_progress") == 2
    for stream in streams:
        assert expected.startswith(stream.text)
        assert stream.error is not None
        assert stream.error.code == "restarted"
        assert isinstance(stream.error.body, dict)
        job_id, path = stream.error.body["job_id"], stream.error.body["events"]
        assert job_id in stream.error.message
        assert path == f"/v1/jobs/{job_id}/events"
        assert path in stream.error.message
        again = Job(stack, body, {"id": job_id})
        assert (await again.ended(stack.urls[1]))["content"] == expected
    assert failing.error is not None
    assert failing.error.code == "worker_lost"


async def test_a_killed_apis_streams_are_resumed_at_the_other(stack: Stack) -> None:
    """A response goes on after the last number; of a chat completion the SDK raises, and the other replica has it."""
    asked, model = question(), paced(tokens=150, rate=75)
    watched = [Events(kind, stack.urls) for kind in KINDS]
    chat = Chunks()
    mine = {"readalong": {"cancel_on_disconnect": False}}
    tasks = [
        *(asyncio.create_task(each.read(model=model, input=asked)) for each in watched),
        asyncio.create_task(
            chat.read("async", stack.url, model=model + "+key", messages=messages(asked), extra_body=mine)
        ),
    ]
    await until(lambda: chat.text and all(each.seen and each.text for each in watched), "text")
    stack.apis[0].kill()
    await asyncio.gather(*tasks)
    for each in watched:
        each.assert_whole(answer(model, asked))
        assert each.cuts == 1
    assert isinstance(chat.error, openai.APIConnectionError)
    job = await job_for(stack, model + "+key", asked)
    assert (await job.ended(stack.urls[1]))["status"] == "done"
    async with client_of("async", stack.urls[1]) as client:
        found = await client.chat.completions.retrieve(f"chatcmpl-{job.id}")
    assert found.choices[0].message.content == answer(model, asked)
    assert len(stack.generations(asked)) == 3


async def test_a_call_whose_reply_is_lost_is_one_job(stack: Stack) -> None:
    """The SDK repeats it by itself, with a count and no key: whole answers, and streams before their first chunk."""
    asked = question()
    model = "demo-first_token_seconds=1.5+tokens=20"

    async def ask(kind: str, face: str, *, streams: bool) -> str:
        named = f"{model}+{kind}{face}{streams}"
        async with client_of(kind, f"http://127.0.0.1:{proxy.port}", max_retries=2) as client:
            if face == "responses":
                response = await client.responses.create(model=named, input=asked)
                return str(response.output_text)
            found = await client.chat.completions.create(model=named, messages=messages(asked), stream=streams)
            if not streams:
                return str(found.choices[0].message.content)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in found])

    port = int(re.findall(r":(\d+)", stack.url)[0])
    async with Proxy(port) as proxy:
        calls = [
            asyncio.create_task(ask(kind, face, streams=streams))
            for kind in KINDS
            for face, streams in (("chat", False), ("chat", True), ("responses", False))
        ]
        await until(lambda: len(stack.generations(asked)) == len(calls), "the calls to the model")
        before = proxy.accepted
        proxy.cut()
        assert await asyncio.gather(*calls) == [answer(model, asked)] * len(calls)
        assert proxy.accepted >= before + len(calls)
    assert len(stack.generations(asked)) == len(calls)
    assert len((await call("GET", f"{stack.url}/v1/jobs")).json()["jobs"]) == len(calls)
