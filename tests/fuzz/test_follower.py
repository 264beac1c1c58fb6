"""With any bytes from the API, `readalong watch` shows the log: each event once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import httpx2
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.api.wire.native import native
from readalong.cli import follower
from readalong.cli.client import Client
from readalong.cli.errors import CliError
from readalong.cli.follower import Follower, ReceivedEvent
from readalong.cli.render.event_renderer import EventRenderer
from readalong.core.events import TYPES, Event
from readalong.core.position import Position
from readalong.core.sse import HEARTBEAT
from readalong.core.states import TERMINAL
from tests.fuzz.answers import cut, cuts
from tests.fuzz.effort import fuzzed

JOB: Final = "A" * 22
#: The pieces of a connection after this position; it breaks at the last piece if that is an exception.
Bring = Callable[[Position], Iterator[bytes]]


class Scripted(Client):
    """A client whose connections bring the given pieces."""

    connections: Iterator[Bring]

    def events(self, job_id: str, after: str | None, silence: float) -> httpx2.Response:
        bring = next(self.connections)
        headers = {"Content-Type": "text/event-stream; charset=utf-8"}
        return httpx2.Response(200, headers=headers, content=bring(Position.parse(after or "0")))


#: One for all: each new one reads all certificates.
client: Final = Scripted("http://api.test")


@pytest.fixture(scope="module", autouse=True)
def _no_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower, "sleep", lambda _: None)
        yield


def a_log(texts: list[str], epoch: str) -> list[Event]:
    said: list[tuple[str, dict[str, Any]]] = [("content", {"content": text}) for text in texts]
    log = [("queued", {"job_id": JOB}), ("started", {"attempt": 1}), *said, ("done", {"content": "".join(texts)})]
    return [Event(seq, kind, orjson.dumps(fields), (), epoch) for seq, (kind, fields) in enumerate(log, 1)]


@fuzzed(200)
@given(
    st.lists(st.text(max_size=8), max_size=8),
    st.sampled_from(["", "a1"]),
    st.lists(st.tuples(st.integers(0, 2000), st.booleans(), cuts), max_size=5),
    st.sampled_from([b"", HEARTBEAT, b"retry: 1000\n: Redis is away\n\n", b"\xef\xbb\xbf", b"id: 0\n\n"]),
)
def test_a_watch_shows_the_log_whatever_breaks(
    texts: list[str], epoch: str, breaks: list[tuple[int, bool, list[int]]], before: bytes
) -> None:
    """Each connection may break at any byte, come in any pieces, and replay earlier events."""
    log = a_log(texts, epoch)

    def connections() -> Iterator[Bring]:
        for place, replays, places in [*breaks, (2**30, False, [])]:

            def bring(
                position: Position, place: int = place, replays: bool = replays, places: list[int] = places
            ) -> Iterator[bytes]:
                after = 0 if replays else position.seq
                body = before + b"".join(native.encode(event) for event in log if event.seq > after)
                yield from cut(body[:place], places)
                if place < len(body):
                    raise httpx2.ReadError("the connection broke")

            yield bring

    client.connections = connections()
    seen = list(Follower(client, JOB).events())
    assert seen == [ReceivedEvent(event.seq, event.type, {"type": event.type, **event.fields()}) for event in log]


odd: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
#: Names of fields that are shown.
NAMES: Final = ["content", "reason", "error", "usage", "metrics", "finish_reason", "attempt", "worker", "by", "name"]
named: Final = st.dictionaries(
    st.sampled_from([*NAMES, "arguments", "index", "seconds", "for", "since"]), odd, max_size=5
)
frames: Final = st.builds(
    lambda id_, kind, data: b"id: %b\nevent: %b\ndata: %b\n\n" % (id_.encode(), kind.encode(), orjson.dumps(data)),
    st.integers(0, 9).map(str) | st.sampled_from(["", "-1", "9" * 30, "3-a", "x", "\u0662"]),
    st.sampled_from(sorted(TYPES)) | st.text("ab", max_size=2),
    named | odd,
)


@fuzzed(200)
@given(st.lists(frames | st.binary(max_size=6), max_size=8).map(b"".join), cuts)
def test_a_watch_of_any_bytes_ends_with_a_code_or_a_problem(body: bytes, places: list[int]) -> None:
    """The same events in any pieces, their numbers rising, and shown without an error."""

    def collected(pieces: list[bytes]) -> list[ReceivedEvent]:
        seen: list[ReceivedEvent] = []
        client.connections = iter([lambda _: iter(pieces)])
        # Events before the problem were shown.
        with suppress(CliError):
            seen.extend(Follower(client, JOB, give_up=0).events())
        return seen

    seen = collected(cut(body, places))
    assert seen == collected(cut(body, range(len(body))))
    lost = [one.type == "restarted" and one.fields.get("reason") == "log_lost" for one in seen]
    numbers = [one.seq for one in seen]
    assert lost.count(True) or numbers == sorted(numbers)
    renderer = EventRenderer()
    codes: list[Any] = [renderer.render(one) for one in seen]
    assert [code is not None for code in codes] == [one.type in TERMINAL for one in seen]
