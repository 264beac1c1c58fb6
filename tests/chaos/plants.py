"""Faults to plant in the clean history, one each, and the rule that each breaks: a catalogue, and so a long file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.chaos.checker import Rule
from tests.chaos.clean import PIECES, QUEUED, end, failed, whole
from tests.chaos.forgetting import mixed_after_a_failover
from tests.chaos.made import START, Made, Said, begun, dumped, said, tokens

Plant = Callable[[Made], None]


def alone(made: Made, log: list[Said], *calls: list[str], t: float = 100.0, state: str = "finished") -> None:
    """A job z1 in a time without faults but a lost worker that its log tells of, its model's calls one second each, and
    a client that saw its log."""
    made.submit("z1", t)
    for number, texts in enumerate(calls, 1):
        made.call(f"z1.{number}", t + number - 0.9, t + number, texts, state)
    made.job("z1", log, t, t + max(1, len(calls)))
    made.client("z1", log, t + 9)
    if any(fields.get("reason") == "worker_lost" for _, fields in log):
        made.fault("worker_kill", t, t + 0.1, pid=9)


def lost_for_a_client(made: Made) -> None:
    del made.clients[made.seen("w0")[4]]


def lost_between_connections(made: Made) -> None:
    del made.clients[made.seen("w2")[-1]]


def lost_in_the_log(made: Made) -> None:
    del made.entries("j7")[4]


def a_repeat(made: Made) -> None:
    place = made.seen("w0")[4]
    made.clients.insert(place, dict(made.clients[place]))


def merged_with_what_came_before(made: Made) -> None:
    texts = "".join(tokens("j1", 1, 2))
    line = made.clients[made.seen("w0")[3]]
    line["data"] = dumped({"type": "content", "content": texts})


def a_swap(made: Made) -> None:
    one, other = made.seen("w0")[4:6]
    made.clients[one], made.clients[other] = made.clients[other], made.clients[one]


def a_second_end_for_a_client(made: Made) -> None:
    place = made.seen("w0")[-1]
    made.clients.insert(place + 1, {**made.clients[place], "id": made.clients[place]["id"] + 1})


def a_second_end_in_the_log(made: Made) -> None:
    log = made.log("j7")
    log["entries"].append([f"{PIECES + 4}-0", log["entries"][-1][1]])
    log["hash"]["last_seq"] = str(PIECES + 4)


def no_end_for_a_client(made: Made) -> None:
    del made.clients[made.seen("w0")[-1]]


def no_end_for_a_client_that_came_late(made: Made) -> None:
    made.line(status=204)["after"] = 5


def told_too_early_that_it_is_over(made: Made) -> None:
    made.line(status=204)["t"] = START + 0.5


def no_end_in_the_log(made: Made) -> None:
    del made.entries("j7")[-1]


def never_ended(made: Made) -> None:
    del made.entries("j7")[-1]
    log = made.log("j7")
    log["hash"].update(status="running", last_seq=str(PIECES + 2))
    del log["hash"]["ended_at"]


def never_ended_for_all_who_waited(made: Made) -> None:
    log = made.log("j8")
    del log["entries"][-1]
    log["hash"].update(status="running", last_seq=str(len(log["entries"])))
    del log["hash"]["ended_at"]
    opened = made.line(kind="open", job="id-j8")
    del made.clients[made.seen(opened["watch"])[-1]]
    made.line(kind="client_end", client=opened["client"])["how"] = "gave_up"


def another_status(made: Made) -> None:
    made.log("j7")["hash"]["status"] = "cancelled"


def lost_job(made: Made) -> None:
    made.logs.remove(made.log("j4"))


def changed_bytes(made: Made) -> None:
    line = made.clients[made.seen("w0")[4]]
    line["data"] = line["data"].replace(":", ": ", 1)


def changed_bytes_of_a_compacted_log(made: Made) -> None:
    line = next(line for line in made.clients if line.get("job") == "id-j10" and line["kind"] == "open")
    event = made.clients[made.seen(line["watch"])[4]]
    event["data"] = event["data"].replace("é", "\\u00e9")


def wrong_merged_text(made: Made) -> None:
    line = made.clients[made.seen("w1")[2]]
    line["data"] = line["data"].replace("<j1.1.4>", "<j1.1.5>")


def wrong_place_of_a_text(made: Made) -> None:
    made.entries("j10")[2][1]["from"] = "1"


def wrong_pieces(made: Made) -> None:
    row = made.entries("j10")[2][1]
    row["data"] = dumped({"content": "".join(tokens("j10", 1, PIECES)) + "!"})
    del row["from"]


def gave_up(made: Made) -> None:
    made.line(kind="client_end")["how"] = "gave_up"


def still_waits(made: Made) -> None:
    made.clients.remove(made.line(kind="client_end"))


def an_internal_error(made: Made) -> None:
    made.submit("j12", 90.0, 500)


def a_job_that_nobody_finds(made: Made) -> None:
    made.line(kind="open")["status"] = 404


def another_content(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts[1:])], texts)


def text_of_nobody(made: Made) -> None:
    texts = [*tokens("z1", 1, 2), "Nobody said this. ", *tokens("z1", 1, 4)[3:]]
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], tokens("z1", 1, 4))


def text_cut_short(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], tokens("z1", 1, 4))


def text_of_a_call_that_broke_off(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], texts, state="broken")


def text_of_another_job(made: Made) -> None:
    texts = tokens("j1", 1, PIECES)
    alone(made, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], tokens("z1", 1, 4))


def zombie(made: Made) -> None:
    """The end says what the newest attempt said; a paused worker wrote between."""
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [
        QUEUED,
        begun("started", 1, 9),
        *said(old[:2]),
        restarted,
        *said([new[0], old[2], *new[1:]]),
        end("done", new),
    ]
    alone(made, log, old, new)


def zombie_before_its_successor(made: Made) -> None:
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [QUEUED, begun("started", 1, 9), *said(old[:2]), restarted, *said([old[2], *new]), end("done", new)]
    alone(made, log, old, new)


def zombie_alone(made: Made) -> None:
    old = tokens("z1", 1, 5)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [QUEUED, begun("started", 1, 9), *said(old[:2]), restarted, *said(old[2:4]), end("done", old[2:4])]
    alone(made, log, old)


def skipped_attempt(made: Made) -> None:
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 3, 8, reason="worker_lost")
    alone(made, [QUEUED, begun("started", 1, 9), *said(old), restarted, *said(new), end("done", new)], old, new)


def text_before_the_start(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    log = [QUEUED, *said(["Too early"]), begun("started", 1, 9), *said(texts), end("done", texts)]
    alone(made, log, texts)


def two_jobs_for_one_key(made: Made) -> None:
    line = made.line(kind="submit", tag="j1")
    made.clients.append({**line, "t": START + 1, "job": "id-second"})
    made.logs.append({**made.log("j1"), "job": "id-second"})


def a_job_that_redis_has_twice(made: Made) -> None:
    made.logs.append({**made.log("j11"), "job": "id-second"})


def a_job_of_nobody(made: Made) -> None:
    made.job("nobody", whole("nobody", 103), 90.0, 91.0)


def one_call_too_many(made: Made) -> None:
    for number in range(2, 5):
        made.refused(f"j1.{number}", 0.1, 429)


def a_call_for_no_job(made: Made) -> None:
    made.call("j12.1", 90.0, 91.0, ["Hello"])


def cancelled_by_nobody(made: Made) -> None:
    made.clients.remove(made.line(kind="cancel", job="id-j5"))


def cancelled_long_before_it_was_asked(made: Made) -> None:
    made.line(kind="cancel", job="id-j5")["t"] = START + 60


def an_orphan_that_was_watched(made: Made) -> None:
    opened = next(line for line in made.clients if line["kind"] == "open" and line["job"] == "id-j6")
    made.line(kind="close", watch=opened["watch"])["t"] = START + 26


def forgotten_cancel(made: Made) -> None:
    made.line(kind="cancel", job="id-j7")["t"] = START + 20.5


def undisturbed(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed("model_cut", texts)]
    alone(made, log, tokens("z1", 1, 4), state="gone")


def unexplained(made: Made) -> None:
    texts = tokens("z1", 1, 3)
    made.fault("redis_kill", 100.2, 100.5, "redis")
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed("internal_error", texts)]
    alone(made, log, tokens("z1", 1, 4), state="gone")


def lost_too_early(made: Made) -> None:
    """Two attempts of three, and its policy is to retry."""
    texts = tokens("z1", 1, 3)
    made.fault("worker_kill", 100.2, 100.5, pid=9)
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed("worker_lost", texts)]
    alone(made, log, tokens("z1", 1, 4), state="gone")


def outlived_its_job(made: Made) -> None:
    made.line(kind="closed", call="j1.1")["t"] = START + 2.2


def outlived_its_attempt(made: Made) -> None:
    """Its job goes on, with a call of the next attempt."""
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [QUEUED, begun("started", 1, 9), *said(old), restarted, *said(new), end("done", new)]
    alone(made, log, old, new)
    made.line(kind="closed", call="z1.1")["t"] = START + 102.3
    made.log("z1")["hash"]["ended_at"] = str(int((START + 109) * 1000))


def never_closed(made: Made) -> None:
    made.model.remove(made.line(kind="closed", call="j1.1"))


def left_in_the_queue(made: Made) -> None:
    made.after["queue"].append("id-j1")


def left_lease(made: Made) -> None:
    made.after["in_progress"].append("arq:in-progress:id-j1")


def left_open(made: Made) -> None:
    made.after["open"].append("id-j1")


def live_channel(made: Made) -> None:
    made.after["channels"].append("readalong:job:{id-j1}:live")


def left_watcher(made: Made) -> None:
    made.after["hubs"].append("<Hub feeds=0 watchers=1 <Subscriber up>>")


def a_silent_hub(made: Made) -> None:
    made.after["hubs"].append("")


def model_calls_left(made: Made) -> None:
    made.after["connections"]["model"] = 1


def connections_left(made: Made) -> None:
    made.after["connections"]["redis"] = 40


def files_left_open(made: Made) -> None:
    made.after["processes"]["worker-3"]["fds"] = 50


def no_time_to_live(made: Made) -> None:
    made.log("j1")["ttl"]["events"] = -1


PLANTS: Final[list[tuple[Plant, Rule]]] = [
    (lost_for_a_client, Rule.GAP),
    (lost_between_connections, Rule.GAP),
    (lost_in_the_log, Rule.GAP),
    (a_repeat, Rule.REPEAT),
    (merged_with_what_came_before, Rule.REPEAT),
    (a_swap, Rule.ORDER),
    (a_second_end_for_a_client, Rule.SECOND_END),
    (a_second_end_in_the_log, Rule.SECOND_END),
    (no_end_for_a_client, Rule.MISSING_END),
    (no_end_for_a_client_that_came_late, Rule.MISSING_END),
    (told_too_early_that_it_is_over, Rule.MISSING_END),
    (no_end_in_the_log, Rule.MISSING_END),
    (never_ended, Rule.NEVER_ENDED),
    (never_ended_for_all_who_waited, Rule.NEVER_ENDED),
    (another_status, Rule.STATUS),
    (lost_job, Rule.LOST_JOB),
    (changed_bytes, Rule.BYTES),
    (mixed_after_a_failover, Rule.MIXED),
    (changed_bytes_of_a_compacted_log, Rule.BYTES),
    (wrong_merged_text, Rule.MERGED),
    (wrong_place_of_a_text, Rule.LOG_FORM),
    (wrong_pieces, Rule.LOG_FORM),
    (gave_up, Rule.GAVE_UP),
    (still_waits, Rule.GAVE_UP),
    (an_internal_error, Rule.ANSWER),
    (a_job_that_nobody_finds, Rule.ANSWER),
    (another_content, Rule.CONTENT),
    (text_of_nobody, Rule.NOT_SENT),
    (text_cut_short, Rule.NOT_SENT),
    (text_of_a_call_that_broke_off, Rule.NOT_SENT),
    (text_of_another_job, Rule.OTHER_CALL),
    (zombie, Rule.ZOMBIE),
    (zombie_before_its_successor, Rule.ZOMBIE),
    (zombie_alone, Rule.ZOMBIE),
    (skipped_attempt, Rule.ATTEMPTS),
    (text_before_the_start, Rule.ATTEMPTS),
    (two_jobs_for_one_key, Rule.TWO_JOBS),
    (a_job_that_redis_has_twice, Rule.TWO_JOBS),
    (a_job_of_nobody, Rule.BILL),
    (one_call_too_many, Rule.BILL),
    (a_call_for_no_job, Rule.BILL),
    (cancelled_by_nobody, Rule.CANCELLED),
    (cancelled_long_before_it_was_asked, Rule.CANCELLED),
    (an_orphan_that_was_watched, Rule.CANCELLED),
    (forgotten_cancel, Rule.CANCEL_LOST),
    (undisturbed, Rule.UNDISTURBED),
    (unexplained, Rule.FAILURE),
    (lost_too_early, Rule.FAILURE),
    (outlived_its_job, Rule.OUTLIVED),
    (outlived_its_attempt, Rule.OUTLIVED),
    (never_closed, Rule.OUTLIVED),
    (left_in_the_queue, Rule.LEAK),
    (left_lease, Rule.LEAK),
    (left_open, Rule.LEAK),
    (live_channel, Rule.LEAK),
    (left_watcher, Rule.LEAK),
    (a_silent_hub, Rule.LEAK),
    (model_calls_left, Rule.LEAK),
    (connections_left, Rule.LEAK),
    (files_left_open, Rule.LEAK),
    (no_time_to_live, Rule.TTL),
]
