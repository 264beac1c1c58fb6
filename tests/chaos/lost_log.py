"""A job of which Redis lost events: clients that saw them are told, and see the next attempt."""

from __future__ import annotations

from collections.abc import Iterable

from tests.chaos.clean_history import QUEUED, end
from tests.chaos.history_builder import HistoryBuilder, Record, Said, begun, dumped, said, tokens

#: The text of the first attempt's call, and of the second's.
OLD, NEW = tokens("z1", 1, 8), tokens("z1", 2, 3)
#: The events that clients saw of the first attempt; Redis then lost those from the fifth on.
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
    """Returns the events seen of the first attempt: 1 to 7."""
    return read(enumerate(_LOST, 1), "aaa")


def second() -> list[Record]:
    """Returns the events after the notice that the log is lost: 5 to 9."""
    told = (LOG[4][0], {**LOG[4][1], "reason": "log_lost"})
    return read(enumerate([told, *LOG[5:]], 5), "bbb")


def add_job_of_lost_log(builder: HistoryBuilder) -> None:
    """z1: a failover while it ran, and its worker is dead too. One client stays connected, and one reconnects."""
    builder.submit("z1", 100.0)
    builder.fault("redis_failover", 100.3, 100.6, "redis", since=1_000_100.3)
    builder.fault("worker_kill", 100.3, 101.0, "worker-9", pid=9)
    builder.call("z1.1", 100.1, 100.4, OLD, "gone")
    builder.call("z1.2", 102.0, 102.9, NEW)
    builder.job("z1", LOG, 100.0, 103.0)
    watch(builder, [*first(), *second()])
    watch(builder, first(), second())


def watch(builder: HistoryBuilder, *connections: list[Record], after: int = 0, how: str = "terminal") -> None:
    """Adds a client that read these connections in turn, each from where the last one ended."""
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
    """A client continues with the second attempt from its number, without the notice of the lost log."""
    add_job_of_lost_log(builder)
    watch(builder, [*first(), *second()[3:]])
