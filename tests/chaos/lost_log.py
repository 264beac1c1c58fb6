"""A job of which Redis forgot something, made by hand: who saw what is lost is told, and sees the next attempt."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.clean_history import QUEUED, end
from tests.chaos.history_builder import HistoryBuilder, Record, Said, begun, dumped, said, tokens

#: What the first attempt's call sent, and the second's.
OLD, NEW = tokens("z1", 1, 8), tokens("z1", 2, 3)
#: What clients saw of the first attempt, which Redis then lost from the fifth event on.
_LOST: list[Said] = [QUEUED, begun("started", 1, 9, epoch="aaa"), *said(OLD[:5])]
LOG: list[Said] = [
    *_LOST[:4],
    begun("restarted", 2, 8, reason="worker_lost", epoch="bbb"),
    *said(NEW),
    end("done", NEW),
]


def read(events: Iterable[tuple[int, Said]], epoch: str) -> list[Record]:
    return [
        {"id": number, "epoch": epoch if number > 1 else "", "type": kind, "data": dumped({"type": kind, **fields})}
        for number, (kind, fields) in events
    ]


def first() -> list[Record]:
    """What was seen of the first attempt: events 1 to 7."""
    return read(enumerate(_LOST, 1), "aaa")


def second() -> list[Record]:
    """What follows, after the word that the log is lost: events 5 to 9."""
    told = (LOG[4][0], {**LOG[4][1], "reason": "log_lost"})
    return read(enumerate([told, *LOG[5:]], 5), "bbb")


def add_job_of_lost_log(builder: HistoryBuilder) -> None:
    """z1: a failover while it ran, and its worker is dead too. A client stays connected, and one comes back."""
    builder.submit("z1", 100.0)
    builder.fault("redis_failover", 100.3, 100.6, "redis", since=1_000_100.3)
    builder.fault("worker_kill", 100.3, 101.0, "worker-9", pid=9)
    builder.call("z1.1", 100.1, 100.4, OLD, "gone")
    builder.call("z1.2", 102.0, 102.9, NEW)
    builder.job("z1", LOG, 100.0, 103.0)
    watch(builder, [*first(), *second()])
    watch(builder, first(), second())


def watch(builder: HistoryBuilder, *connections: list[Record], after: int = 0, how: str = "terminal") -> None:
    """A client that read these, one connection after the other, each from where the one before ended."""
    name = f"f{builder.watches}"
    builder.clients.append({"t": 1_000_100.1, "kind": "client", "client": name, "job": "id-z1", "after": after})
    epoch = ""
    for place, seen in enumerate(connections):
        last = place == len(connections) - 1
        builder.watch(name, "id-z1", 100.1 + place, seen, after=after, how="end" if last else "reset")
        builder.line(kind="open", watch=f"w{builder.watches - 1}")["epoch"] = epoch
        after, epoch = seen[-1]["id"], seen[-1]["epoch"]
    builder.clients.append({"t": 1_000_103.1, "kind": "client_end", "client": name, "how": how})


def mixed_after_a_failover(builder: HistoryBuilder) -> None:
    """It went on with the second attempt from its number, and nobody told it."""
    add_job_of_lost_log(builder)
    watch(builder, [*first(), *second()[3:]])
