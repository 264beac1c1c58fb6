"""A history without a violation: jobs with each kind of end, and clients of each kind."""

from __future__ import annotations

from tests.chaos.history_builder import HistoryBuilder, Record, Said, begun, said, tokens

QUEUED: Said = ("queued", {"job_id": "?", "model": "demo-numbered", "created_at": "?"})
#: The number of pieces of each whole answer.
PIECES = 8


def end(kind: str, texts: list[str], **fields: object) -> Said:
    return kind, {"content": "".join(texts), **fields, "usage": None}


def failed(code: str, texts: list[str]) -> Said:
    return end("failed", texts, error={"code": code, "message": "It failed.", "retryable": True})


def whole(tag: str, pid: int) -> list[Said]:
    """Returns the log of a job that ran in one attempt."""
    texts = tokens(tag, 1, PIECES)
    return [QUEUED, begun("started", 1, pid), *said(texts), end("done", texts, finish_reason="stop")]


def clean_history() -> HistoryBuilder:
    builder = HistoryBuilder()
    _plain(builder)
    _lost_worker(builder)
    _cancelled(builder)
    _failed(builder)
    _without_reply(builder)
    _chats(builder)
    _erased(builder)
    _hostile(builder)
    return builder


def _plain(builder: HistoryBuilder) -> None:
    """j1: one attempt, in a time without a fault; read in all ways."""
    log = whole("j1", 103)
    builder.submit("j1", 0.0)
    builder.call("j1.1", 0.2, 1.0, tokens("j1", 1, PIECES))
    builder.job("j1", log, 0.0, 1.05)
    builder.client("j1", log, 0.1)
    builder.client("j1", log, 2.0, merged=True)
    builder.client("j1", log, 2.0, 3, 6, merged=True)
    builder.client("j1", log, 2.0, 6, how="left")
    builder.client("j1", log, 2.0, 3, 9, after=2)
    told = builder.client("j1", log, 2.0, after=len(log), how="204")
    builder.watch(told, "id-j1", 3.0, [], after=len(log), how="refused", status=204)
    # This client asked again for events that it had.
    again = builder.client("j1", log, 2.0, 6, how="left")
    builder.watch(again, "id-j1", 3.0, [], after=4, how="left")


def _lost_worker(builder: HistoryBuilder) -> None:
    """j2: a worker was killed, and one was paused and drained; the log is compacted. j3: all three were killed."""
    one, two, three = tokens("j2", 1, PIECES)[:3], tokens("j2", 2, PIECES)[:2], tokens("j2", 4, PIECES)
    log = [
        QUEUED,
        begun("started", 1, 101),
        *said(one),
        begun("restarted", 2, 102, reason="worker_lost"),
        *said(["Well"], "reasoning"),
        *said(two),
        begun("restarted", 3, 103, reason="worker_stopped"),
        *said(three),
        end("done", three, finish_reason="stop"),
    ]
    builder.submit("j2", 10.0)
    builder.call("j2.1", 10.1, 11.0, tokens("j2", 1, PIECES)[:5], "gone")
    builder.fault("worker_kill", 11.0, 11.5, "worker-1", pid=101)
    builder.call("j2.2", 12.6, 15.5, tokens("j2", 2, PIECES)[:6], "gone")
    builder.fault("worker_stop", 13.0, 15.4, "worker-2", pid=102)
    builder.fault("worker_drain", 13.0, 15.4, "worker-2", pid=102)
    builder.refused("j2.3", 14.7, 429)
    builder.call("j2.4", 15.0, 17.0, tokens("j2", 4, PIECES))
    builder.job("j2", log, 10.0, 17.1, compacted=True)
    builder.client("j2", log, 17.5, merged=True)
    builder.client("j2", log, 17.5, 4, 5, 8, 12)

    lost: list[Said] = [QUEUED, begun("started", 1, 111)]
    texts = tokens("j3", 3, 4)
    for attempt, pid in ((2, 112), (3, 113)):
        lost.append(begun("restarted", attempt, pid, reason="worker_lost"))
    lost += [*said(texts), failed("worker_lost", texts)]
    builder.submit("j3", 10.0)
    for attempt, pid in ((1, 111), (2, 112), (3, 113)):
        builder.call(f"j3.{attempt}", 8.2 + 2 * attempt, 10.0 + 2 * attempt, tokens("j3", attempt, 5), "gone")
        builder.fault("worker_kill", 10.0 + 2 * attempt, 10.5 + 2 * attempt, f"worker-{attempt}", pid=pid)
    builder.job("j3", lost, 10.0, 18.0, attempt="4")
    builder.client("j3", lost, 18.5)


def _cancelled(builder: HistoryBuilder) -> None:
    """j4: cancelled while queued. j5: while running. j6: by its last watcher's leaving. j7: at its end, too late."""
    queued = [QUEUED, end("cancelled", [], by="Ada")]
    builder.submit("j4", 20.0)
    builder.cancel("j4", 20.1)
    builder.job("j4", queued, 20.0, 20.1)
    builder.client("j4", queued, 20.05)

    texts = tokens("j5", 1, 5)
    running = [QUEUED, begun("started", 1, 103), *said(texts), end("cancelled", texts, by="Ada")]
    builder.submit("j5", 20.0)
    builder.cancel("j5", 21.0, None)
    builder.call("j5.1", 20.1, 21.1, tokens("j5", 1, 6), "gone")
    builder.job("j5", running, 20.0, 21.0, compacted=True)
    builder.client("j5", running, 20.1, merged=True)

    texts = tokens("j6", 1, 2)
    alone = [QUEUED, begun("started", 1, 103), *said(texts), end("cancelled", texts, by="disconnect")]
    builder.submit("j6", 20.0, cancel_on_disconnect=True)
    builder.call("j6.1", 20.1, 25.0, texts, "gone")
    builder.job("j6", alone, 20.0, 25.0)
    builder.client("j6", alone, 20.2, 3, how="left")

    log = whole("j7", 103)
    builder.submit("j7", 20.0)
    builder.cancel("j7", 22.0)
    builder.call("j7.1", 20.1, 22.1, tokens("j7", 1, PIECES))
    builder.job("j7", log, 20.0, 22.1)


def _failed(builder: HistoryBuilder) -> None:
    """j8: its model breaks off. j9: Redis was down for longer than a worker waits."""
    texts = tokens("j8", 1, 4)
    cut = [QUEUED, begun("started", 1, 103), *said(texts), failed("model_cut", texts)]
    builder.submit("j8", 30.0)
    builder.call("j8.1", 30.1, 31.0, texts, "broken")
    builder.job("j8", cut, 30.0, 31.1, model="demo-numbered+cut")
    builder.client("j8", cut, 30.1)

    texts = tokens("j9", 1, 4)
    away = [QUEUED, begun("started", 1, 103), *said(texts[:3]), failed("redis_outage", texts[:3])]
    builder.submit("j9", 40.0)
    builder.call("j9.1", 40.1, 61.5, texts, "gone")
    builder.fault("proxy_silent", 40.5, 61.0, "worker-3")
    builder.faults.append({"t": 1_000_041.0, "kind": "lag", "seconds": 0.7})
    builder.job("j9", away, 40.0, 61.6)
    builder.client("j9", away, 62.0)


def _without_reply(builder: HistoryBuilder) -> None:
    """j10: submitted twice, after a lost reply. j11: no reply, and a job all the same. j12: no reply, and no job."""
    for tag, replies in (("j10", (None, 202)), ("j11", (None, 503)), ("j12", (None,))):
        for place, status in enumerate(replies):
            builder.submit(tag, 70.0 + place, status)
        if tag != "j12":
            log = whole(tag, 103)
            builder.call(f"{tag}.1", 70.2, 71.0, tokens(tag, 1, PIECES))
            builder.job(tag, log, 70.0, 71.1, compacted=True)
    builder.client("j10", whole("j10", 103), 71.5, 7)


def _chats(builder: HistoryBuilder) -> None:
    """j13, j14: by /chat/stream, read to the end and cut off. j15: likewise, and the client did not return."""
    one, two = tokens("j13", 1, PIECES)[:3], tokens("j13", 2, PIECES)
    restarted = begun("restarted", 2, 102, reason="worker_lost")
    log = [
        QUEUED,
        begun("started", 1, 101),
        *said(one),
        restarted,
        *said(["Well"], "reasoning"),
        *said(two),
        end("done", two, finish_reason="stop"),
    ]
    builder.chat("j13", 10.0, None)
    builder.chat("j13", 10.1)
    builder.call("j13.1", 10.2, 11.0, tokens("j13", 1, PIECES)[:5], "gone")
    builder.call("j13.2", 12.6, 14.5, two)
    builder.job("j13", log, 10.0, 14.6, compacted=True)
    pieces: list[Record | str] = [{"content": text} for text in one]
    rest: list[Record | str] = [
        {"restarted": restarted[1]},
        {"reasoning": "Well"},
        {"content": "".join(two[:5])},
        {"content": two[5]},
    ]
    builder.chatter("j13", log, 10.2, [*pieces, *rest, {"content": "".join(two[6:])}, "[DONE]"], "end")
    builder.chatter("j13", log, 10.2, [{"content": "".join(one)}, *rest], "reset")

    texts = tokens("j14", 1, 4)
    cut = [QUEUED, begun("started", 1, 103), *said(texts), failed("model_cut", texts)]
    builder.chat("j14", 30.0)
    builder.call("j14.1", 30.1, 31.0, texts, "broken")
    builder.job("j14", cut, 30.0, 31.1, model="demo-numbered+cut")
    lines: list[Record | str] = [{"content": text} for text in texts]
    builder.chatter("j14", cut, 30.1, [*lines, {"error": cut[-1][1]["error"]}, "[DONE]"], "end")

    texts = tokens("j15", 1, 2)
    alone = [QUEUED, begun("started", 1, 103), *said(texts), end("cancelled", texts, by="disconnect")]
    builder.chat("j15", 20.0, None)
    builder.call("j15.1", 20.1, 25.0, texts, "gone")
    builder.job("j15", alone, 20.0, 25.0)


def _erased(builder: HistoryBuilder) -> None:
    """j16: erased while running, with three watchers. j17: after its end, by two requests. j18: while queued."""
    texts = tokens("j16", 1, 5)
    log = [QUEUED, begun("started", 1, 103), *said(texts), end("cancelled", texts, by="client")]
    builder.submit("j16", 80.0)
    builder.call("j16.1", 80.1, 81.2, tokens("j16", 1, 6), "gone")
    builder.client("j16", log, 80.1, 4, merged=True)
    for how in ("reset", "eof"):
        client = builder.client("j16", log, 80.1, 4, how="gone")
        builder.line(kind="close", watch=f"w{builder.watches - 1}")["how"] = how
        builder.watch(client, "id-j16", 81.3, [], after=4, how="refused", status=404 if how == "eof" else 410)
    builder.erase("j16", 81.4)
    builder.cancel("j16", 81.5, 404)

    log = whole("j17", 103)
    builder.submit("j17", 80.0)
    builder.call("j17.1", 80.1, 81.0, tokens("j17", 1, PIECES))
    builder.client("j17", log, 80.1)
    told = builder.client("j17", log, 81.5, after=len(log), how="204")
    builder.watch(told, "id-j17", 81.5, [], after=len(log), how="end", status=204)
    builder.erase("j17", 82.0, None)
    builder.erase("j17", 83.0, 410)

    builder.chat("j18", 80.0)
    builder.erase("j18", 80.9)


def _hostile(builder: HistoryBuilder) -> None:
    """j19: its model's answer is too large. j20: its own model was down. Attacks, and a worker that took nothing."""
    texts = tokens("j19", 1, 5)
    log = [QUEUED, begun("started", 1, 103), *said(texts), failed("model_answer_too_large", texts)]
    builder.submit("j19", 90.0)
    builder.call("j19.1", 90.1, 91.0, tokens("j19", 1, 7), "gone")
    builder.job("j19", log, 90.0, 91.0, model="hostile-text")
    builder.client("j19", log, 90.1)

    texts = tokens("j20", 2, 3)
    waiting: Said = ("waiting", {"for": "model", "reason": "model_rate_limited", "seconds": 0.3})
    log = [QUEUED, begun("started", 1, 103), waiting, *said(texts), end("done", texts, finish_reason="stop")]
    builder.submit("j20", 90.0)
    builder.refused("j20.1", 90.1, 429)
    builder.call("j20.2", 90.5, 91.0, texts)
    builder.job("j20", log, 90.0, 91.0, model="demo-numbered+429")
    builder.client("j20", log, 90.1)

    builder.attack("storm", 90.0, 200, 404, 503, None)
    builder.attack("goes-on", 90.0, 413, closed=True)
    builder.attack("other-body", 90.0, 409, job="id-j20", made=None)
    builder.fault("api_stop", 90.0, 90.5, "api-0")
    builder.attack("dribble", 90.6, closed=False)
    builder.shut(80.0, 88.0)
