"""A Python client in wrong hands, in two threads, and in a cancelled task: it says what is wrong, and leaves no
generation behind."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final

import anyio
import httpx2
import openai
import pytest

from readalong.client import (
    ApiConnectionError,
    AsyncClient,
    AsyncDirectClient,
    AsyncStream,
    AsyncWatch,
    Client,
    ClientError,
    ClientOptions,
    DirectClient,
    Event,
    MisuseError,
    Stream,
    Watch,
)
from tests.clients.conformance.python_runner import Play
from tests.clients.conformance.scenarios import SCENARIOS
from tests.support.servers import free_port
from tests.support.waiting import until

#: A generation that stops after its fourth event, and whose reader is to leave.
HANGS = 67


@pytest.fixture
def play(server: str) -> Play:
    return Play.new(server, SCENARIOS[HANGS].manifest())


def cancels(play: Play) -> int:
    """Returns the number of cancels, once submit, watch and cancel are there."""
    return sum(request["path"].endswith("/cancel") for request in play.record()["requests"])


def read_four(stream: Stream) -> Any:
    """Reads up to where the stream hangs; returns the iterator."""
    events = stream.events()
    for _ in range(4):
        next(events)
    return events


async def read_four_events(stream: AsyncStream) -> Any:
    events = stream.events()
    for _ in range(4):
        await anext(events)
    return events


@pytest.mark.parametrize("closes", ["stream", "client"])
def test_a_close_from_another_thread_ends_the_loop_and_the_generation(play: Play, closes: str) -> None:
    client = Client(play.urls)
    stream = client.stream_chat("Why?")
    reading = threading.Event()

    def read() -> list[str]:
        events = read_four(stream)
        reading.set()
        return [event.type for event in events]

    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(read)
        assert reading.wait(60)
        (stream if closes == "stream" else client).close()
        assert rest.result(60) == []
    assert cancels(play) == 1
    client.close()


def test_a_second_thread_is_told_that_the_stream_is_being_read(play: Play) -> None:
    """One of two readers waits for the next event; the other one gets an error, and not half of the events."""
    with Client(play.urls) as client, ThreadPoolExecutor(2) as pool:
        stream = client.stream_chat("Why?")
        events = read_four(stream)
        readers = [pool.submit(list, events) for _ in range(2)]
        [told], [waits] = wait(readers, timeout=60, return_when=FIRST_COMPLETED)
        with pytest.raises(MisuseError, match="is being read already"):
            told.result()
        stream.close()
        assert waits.result(60) == []


def test_a_stream_is_read_once(play: Play) -> None:
    with Client(play.urls) as client, client.stream_chat("Why?") as stream:
        events = read_four(stream)
        with pytest.raises(MisuseError, match="read once"):
            iter(stream)
        events.close()
    with pytest.raises(MisuseError, match="closed"):
        iter(stream)


def test_a_watch_is_read_by_one_loop_and_goes_on_in_the_next(server: str) -> None:
    play = Play.new(server, SCENARIOS[20].manifest())
    with Client(play.urls, options=play.options) as client:
        watch = client.watch(play.scenario["job"])
        first = iter(watch)
        next(first)
        with pytest.raises(MisuseError, match="being read already"):
            iter(watch)
        first.close()
        assert [event.seq for event in watch] == [2, 3, 4, 5]
        assert list(watch) == []


def test_a_loop_that_is_dropped_cancels_the_generation_at_once(play: Play) -> None:
    """`for … break`, without a `with`."""
    client = Client(play.urls)
    for _ in client.stream_chat("Why?"):
        break
    assert cancels(play) == 1
    client.close()


@pytest.mark.parametrize("what", ["http:/x", "nowhere", "http://h:99999", ""])
def test_a_url_that_is_none_is_told_at_once(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_URL", "mailto:")
    with pytest.raises(MisuseError, match="not the URL of an API"):
        Client(what)


async def test_messages_that_are_none_are_told_at_once() -> None:
    """By each client, before anything is sent: what is no list, no message, no JSON. A closed client sends nothing."""
    wrong: list[Any] = [5, None, b"Why?", {"role": "user", "content": "Why?"}, ["Why?"], [None]]
    wrong += [[{"role": "user", "content": part}] for part in ({"a set"}, float("nan"), "half a pair \ud83d")]
    api = (Client("http://127.0.0.1:9"), AsyncClient("http://127.0.0.1:9"))
    direct, asynchronous = DirectClient(openai.OpenAI(api_key="x")), AsyncDirectClient(openai.AsyncOpenAI(api_key="x"))
    for client in (*api, direct, asynchronous):
        for messages in wrong:
            with pytest.raises(MisuseError, match=r"must be|sent as JSON"):
                client.stream_chat(messages, model="m")
    direct.close()
    await asynchronous.aclose()
    for closed in (direct, asynchronous):
        with pytest.raises(MisuseError, match="client is closed"):
            closed.stream_chat("Why?", model="m")


@pytest.mark.parametrize("wrong", [{"job": 5}, {"job": ".."}, {"job": "a", "after": "b"}, {"job": "a", "after": -1}])
def test_what_is_no_id_or_position_is_told_at_once(wrong: dict[str, Any]) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(MisuseError):
        client.watch(**wrong)


def test_a_wrong_port_is_an_error_at_once_which_names_the_url() -> None:
    """A limit of an hour would otherwise be waited for."""
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, options=ClientOptions(give_up=3600)) as client, pytest.raises(ApiConnectionError, match=url):
        client.submit("Why?")


def test_trouble_is_told_while_it_lasts(server: str) -> None:
    play = Play.new(server, SCENARIOS[20].manifest())
    told: list[ClientError | None] = []
    with Client(play.urls, options=play.options) as client:
        assert list(client.watch(play.scenario["job"], on_trouble=told.append))
    assert [None if error is None else error.code for error in told] == ["connection_failed", None] * 2


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_task_cancels_its_generation(play: Play, times: int) -> None:
    """Also when it is cancelled again while it does so."""
    async with AsyncClient(play.urls) as client:
        stream = client.stream_chat("Why?")
        events = await read_four_events(stream)

        async def rest() -> list[Event]:
            return [event async for event in events]

        task = asyncio.create_task(rest())
        await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
    assert await asyncio.to_thread(cancels, play) == 1


async def test_a_scope_that_cancels_again_and_again_cancels_the_generation(play: Play) -> None:
    """As Starlette does to a response whose client has gone: every await of the task raises from then on."""
    with anyio.CancelScope() as scope:
        async with AsyncClient(play.urls) as client:
            async for _ in client.stream_chat("Why?"):
                scope.cancel()
    assert await asyncio.to_thread(cancels, play) == 1
    # The client closes in a task of its own.
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_dropped_loop_cancels_the_generation_before_the_client_is_closed(play: Play) -> None:
    async with AsyncClient(play.urls) as client:
        async for _ in client.stream_chat("Why?"):
            break
    assert await asyncio.to_thread(cancels, play) == 1


@pytest.mark.parametrize("closes", ["stream", "client"])
async def test_a_close_from_another_task_ends_the_loop_and_the_generation(play: Play, closes: str) -> None:
    client = AsyncClient(play.urls)
    stream = client.stream_chat("Why?")
    events = await read_four_events(stream)

    async def rest() -> list[Event]:
        return [event async for event in events]

    task = asyncio.create_task(rest())
    await asyncio.sleep(0)
    with pytest.raises(MisuseError, match="is being read already"):
        await anext(events)
    await (stream if closes == "stream" else client).aclose()
    assert await task == []
    assert await asyncio.to_thread(cancels, play) == 1
    await client.aclose()


def test_a_client_of_another_event_loop_says_so(play: Play) -> None:
    client = AsyncClient(play.urls)

    async def ask() -> None:
        await client.job("x")

    with pytest.raises(ClientError, match="not in the scenario"):
        asyncio.run(ask())
    with pytest.raises(MisuseError, match="another event loop"):
        asyncio.run(ask())


@pytest.mark.parametrize("how", ["erase", "watch"])
async def test_a_connection_that_breaks_while_it_is_made_is_made_again(how: str) -> None:
    """On uvloop anyio tells that so."""
    methods: list[str] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        methods.append(request.method)
        if len(methods) == 1:
            raise AttributeError("'NoneType' object has no attribute 'getpeername'")
        if request.method == "DELETE":
            return httpx2.Response(204)
        end = b'id: 1-a\nevent: cancelled\ndata: {"type":"cancelled","by":"client","content":""}\n\n'
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=end)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    async with http, AsyncClient("http://127.0.0.1:9", http_client=http) as client:
        if how == "erase":
            await client.erase("job")
        else:
            assert [event.type async for event in client.watch("job")] == ["cancelled"]
    assert methods == {"erase": ["DELETE"] * 2, "watch": ["GET"] * 2}[how]


_EVENTS: Final = b'id: 1\nevent: queued\ndata: {"type":"queued"}\n\n'
_CHUNK: Final = (
    b'data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
)


def sse(content: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)


@pytest.mark.parametrize("ends", ["close", "cancel"])
def test_a_stream_that_is_given_up_while_its_connection_is_made_is_not_read(ends: str) -> None:
    """There is nothing to shut down yet: the reader of a silent job would go on to wait."""
    reading: list[Watch | Stream] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        (reading[0].interrupt if isinstance(reading[0], Watch) else reading[0].cancel)()
        return sse(_EVENTS if request.method == "GET" else _CHUNK)

    with httpx2.Client(transport=httpx2.MockTransport(respond)) as http:
        if ends == "close":
            with Client("http://127.0.0.1:9", http_client=http) as client:
                reading.append(watch := client.watch("job"))
                assert list(watch) == []
        else:
            model = openai.OpenAI(base_url="http://127.0.0.1:9", api_key="unused", http_client=http)
            reading.append(stream := DirectClient(model).stream_chat("Why?", model="demo"))
            assert [event.type for event in stream.events()] == ["queued", "started", "cancelled"]


@pytest.mark.parametrize("source", ["api", "model"])
async def test_a_stream_of_an_event_loop_that_is_closed_while_its_connection_is_made_ends(source: str) -> None:
    """The task that reads it is not cancelled by that."""
    reading: list[AsyncWatch | AsyncStream] = []

    async def respond(_: httpx2.Request) -> httpx2.Response:
        if isinstance(reading[0], AsyncWatch):
            await reading[0].interrupt()
        else:
            await reading[0].aclose()
        return sse(_EVENTS)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http:
        if source == "api":
            async with AsyncClient("http://127.0.0.1:9", http_client=http) as client:
                reading.append(watch := client.watch("job"))
                assert [event async for event in watch] == []
        else:
            model = openai.AsyncOpenAI(base_url="http://127.0.0.1:9", api_key="unused", http_client=http)
            reading.append(stream := AsyncDirectClient(model).stream_chat("Why?", model="demo"))
            assert [event.type async for event in stream.events()] == ["queued", "started"]


async def test_a_stream_that_is_cancelled_before_its_loop_is_an_end_and_no_job(play: Play) -> None:
    with Client(play.urls) as client:
        stream = client.stream_chat("Why?")
        stream.cancel()
        assert [event.type for event in stream.events()] == ["cancelled"]
    async with AsyncClient(play.urls) as client:
        other = client.stream_chat("Why?")
        await other.cancel()
        assert [event.type async for event in other.events()] == ["cancelled"]
    assert stream.job_id is other.job_id is None
