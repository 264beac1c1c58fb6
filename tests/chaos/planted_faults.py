"""A catalogue of faults to plant in the clean history, each with the rule that it breaks; hence a long file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.chaos.checker import Rule
from tests.chaos.clean_history import PIECES, QUEUED, end, failed, whole
from tests.chaos.history_builder import START, HistoryBuilder, Said, begun, dumped, said, tokens
from tests.chaos.lost_log import mixed_after_a_failover

PlantedFault = Callable[[HistoryBuilder], None]


def alone(builder: HistoryBuilder, log: list[Said], *calls: list[str], state: str = "finished") -> None:
    """Adds a job z1 without faults around it, except a lost worker if its log names one.

    Its model's calls take one second each, and a client saw its log.
    """
    builder.submit("z1", 100.0)
    for number, texts in enumerate(calls, 1):
        builder.call(f"z1.{number}", 99.1 + number, 100.0 + number, texts, state)
    builder.job("z1", log, 100.0, 100.0 + max(1, len(calls)))
    builder.client("z1", log, 109.0)
    if any(fields.get("reason") == "worker_lost" for _, fields in log):
        builder.fault("worker_kill", 100.0, 100.1, pid=9)


def lost_for_a_client(builder: HistoryBuilder) -> None:
    del builder.clients[builder.seen("w0")[4]]


def lost_between_connections(builder: HistoryBuilder) -> None:
    del builder.clients[builder.seen("w2")[-1]]


def lost_in_the_log(builder: HistoryBuilder) -> None:
    del builder.entries("j7")[4]


def a_repeat(builder: HistoryBuilder) -> None:
    place = builder.seen("w0")[4]
    builder.clients.insert(place, dict(builder.clients[place]))


def merged_with_what_came_before(builder: HistoryBuilder) -> None:
    texts = "".join(tokens("j1", 1, 2))
    line = builder.clients[builder.seen("w0")[3]]
    line["data"] = dumped({"type": "content", "content": texts})


def a_swap(builder: HistoryBuilder) -> None:
    one, other = builder.seen("w0")[4:6]
    builder.clients[one], builder.clients[other] = builder.clients[other], builder.clients[one]


def a_second_end_for_a_client(builder: HistoryBuilder) -> None:
    place = builder.seen("w0")[-1]
    builder.clients.insert(place + 1, {**builder.clients[place], "id": builder.clients[place]["id"] + 1})


def a_second_end_in_the_log(builder: HistoryBuilder) -> None:
    log = builder.log("j7")
    log["entries"].append([f"{PIECES + 4}-0", log["entries"][-1][1]])
    log["hash"]["last_seq"] = str(PIECES + 4)


def no_end_for_a_client(builder: HistoryBuilder) -> None:
    del builder.clients[builder.seen("w0")[-1]]


def no_end_for_a_client_that_came_late(builder: HistoryBuilder) -> None:
    builder.line(status=204)["after"] = 5


def told_too_early_that_it_is_over(builder: HistoryBuilder) -> None:
    builder.line(status=204)["t"] = START + 0.5


def no_end_in_the_log(builder: HistoryBuilder) -> None:
    del builder.entries("j7")[-1]


def never_ended(builder: HistoryBuilder) -> None:
    del builder.entries("j7")[-1]
    log = builder.log("j7")
    log["hash"].update(status="running", last_seq=str(PIECES + 2))
    del log["hash"]["ended_at"]


def never_ended_for_all_who_waited(builder: HistoryBuilder) -> None:
    log = builder.log("j8")
    del log["entries"][-1]
    log["hash"].update(status="running", last_seq=str(len(log["entries"])))
    del log["hash"]["ended_at"]
    opened = builder.line(kind="open", job="id-j8")
    del builder.clients[builder.seen(opened["watch"])[-1]]
    builder.line(kind="client_end", client=opened["client"])["how"] = "gave_up"


def another_status(builder: HistoryBuilder) -> None:
    builder.log("j7")["hash"]["status"] = "cancelled"


def lost_job(builder: HistoryBuilder) -> None:
    builder.logs.remove(builder.log("j4"))


def changed_bytes(builder: HistoryBuilder) -> None:
    line = builder.clients[builder.seen("w0")[4]]
    line["data"] = line["data"].replace(":", ": ", 1)


def changed_bytes_of_a_compacted_log(builder: HistoryBuilder) -> None:
    line = next(line for line in builder.clients if line.get("job") == "id-j10" and line["kind"] == "open")
    event = builder.clients[builder.seen(line["watch"])[4]]
    event["data"] = event["data"].replace("é", "\\u00e9")


def wrong_merged_text(builder: HistoryBuilder) -> None:
    line = builder.clients[builder.seen("w1")[2]]
    line["data"] = line["data"].replace("<j1.1.4>", "<j1.1.5>")


def wrong_place_of_a_text(builder: HistoryBuilder) -> None:
    builder.entries("j10")[2][1]["from"] = "1"


def wrong_pieces(builder: HistoryBuilder) -> None:
    row = builder.entries("j10")[2][1]
    row["data"] = dumped({"content": "".join(tokens("j10", 1, PIECES)) + "!"})
    del row["from"]


def gave_up(builder: HistoryBuilder) -> None:
    builder.line(kind="client_end")["how"] = "gave_up"


def still_waits(builder: HistoryBuilder) -> None:
    builder.clients.remove(builder.line(kind="client_end"))


def an_internal_error(builder: HistoryBuilder) -> None:
    builder.submit("j12", 90.0, 500)


def a_job_that_is_not_found(builder: HistoryBuilder) -> None:
    builder.line(kind="open")["status"] = 404


def another_content(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    alone(builder, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts[1:])], texts)


def text_of_no_call(builder: HistoryBuilder) -> None:
    texts = [*tokens("z1", 1, 2), "No call sent this. ", *tokens("z1", 1, 4)[3:]]
    alone(builder, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], tokens("z1", 1, 4))


def text_cut_short(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    alone(builder, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], tokens("z1", 1, 4))


def text_of_a_call_that_broke_off(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    alone(builder, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], texts, state="broken")


def text_of_another_job(builder: HistoryBuilder) -> None:
    texts = tokens("j1", 1, PIECES)
    alone(builder, [QUEUED, begun("started", 1, 9), *said(texts), end("done", texts)], tokens("z1", 1, 4))


def zombie(builder: HistoryBuilder) -> None:
    """The end has the newest attempt's text; a paused worker wrote in between."""
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
    alone(builder, log, old, new)


def zombie_before_its_successor(builder: HistoryBuilder) -> None:
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [QUEUED, begun("started", 1, 9), *said(old[:2]), restarted, *said([old[2], *new]), end("done", new)]
    alone(builder, log, old, new)


def zombie_alone(builder: HistoryBuilder) -> None:
    old = tokens("z1", 1, 5)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [QUEUED, begun("started", 1, 9), *said(old[:2]), restarted, *said(old[2:4]), end("done", old[2:4])]
    alone(builder, log, old)


def skipped_attempt(builder: HistoryBuilder) -> None:
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 3, 8, reason="worker_lost")
    alone(builder, [QUEUED, begun("started", 1, 9), *said(old), restarted, *said(new), end("done", new)], old, new)


def text_before_the_start(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    log = [QUEUED, *said(["Too early"]), begun("started", 1, 9), *said(texts), end("done", texts)]
    alone(builder, log, texts)


def two_jobs_for_one_key(builder: HistoryBuilder) -> None:
    line = builder.line(kind="submit", tag="j1")
    builder.clients.append({**line, "t": START + 1, "job": "id-second"})
    builder.logs.append({**builder.log("j1"), "job": "id-second"})


def a_job_that_redis_has_twice(builder: HistoryBuilder) -> None:
    builder.logs.append({**builder.log("j11"), "job": "id-second"})


def a_job_of_no_submit(builder: HistoryBuilder) -> None:
    builder.job("unknown", whole("unknown", 103), 90.0, 91.0)


def one_call_too_many(builder: HistoryBuilder) -> None:
    for number in range(2, 5):
        builder.refused(f"j1.{number}", 0.1, 429)


def a_call_for_no_job(builder: HistoryBuilder) -> None:
    builder.call("j12.1", 90.0, 91.0, ["Hello"])


def cancelled_without_a_cancel(builder: HistoryBuilder) -> None:
    builder.clients.remove(builder.line(kind="cancel", job="id-j5"))


def cancelled_long_before_it_was_asked(builder: HistoryBuilder) -> None:
    builder.line(kind="cancel", job="id-j5")["t"] = START + 60


def an_orphan_that_was_watched(builder: HistoryBuilder) -> None:
    opened = next(line for line in builder.clients if line["kind"] == "open" and line["job"] == "id-j6")
    builder.line(kind="close", watch=opened["watch"])["t"] = START + 26


def forgotten_cancel(builder: HistoryBuilder) -> None:
    builder.line(kind="cancel", job="id-j7")["t"] = START + 20.5


def undisturbed(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed("model_cut", texts)]
    alone(builder, log, tokens("z1", 1, 4), state="gone")


def unexplained(builder: HistoryBuilder) -> None:
    texts = tokens("z1", 1, 3)
    builder.fault("redis_kill", 100.2, 100.5, "redis")
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed("internal_error", texts)]
    alone(builder, log, tokens("z1", 1, 4), state="gone")


def lost_too_early(builder: HistoryBuilder) -> None:
    """Two attempts of three, and its policy is to retry."""
    texts = tokens("z1", 1, 3)
    builder.fault("worker_kill", 100.2, 100.5, pid=9)
    log = [QUEUED, begun("started", 1, 9), *said(texts), failed("worker_lost", texts)]
    alone(builder, log, tokens("z1", 1, 4), state="gone")


def outlived_its_job(builder: HistoryBuilder) -> None:
    builder.line(kind="closed", call="j1.1")["t"] = START + 2.2


def outlived_its_attempt(builder: HistoryBuilder) -> None:
    """The job continues with a call of the next attempt."""
    old, new = tokens("z1", 1, 5), tokens("z1", 2, 3)
    restarted = begun("restarted", 2, 8, reason="worker_lost")
    log = [QUEUED, begun("started", 1, 9), *said(old), restarted, *said(new), end("done", new)]
    alone(builder, log, old, new)
    builder.line(kind="closed", call="z1.1")["t"] = START + 102.3
    builder.log("z1")["hash"]["ended_at"] = str(int((START + 109) * 1000))


def never_closed(builder: HistoryBuilder) -> None:
    builder.model.remove(builder.line(kind="closed", call="j1.1"))


def left_in_the_queue(builder: HistoryBuilder) -> None:
    builder.after["queue"].append("id-j1")


def left_lease(builder: HistoryBuilder) -> None:
    builder.after["in_progress"].append("arq:in-progress:id-j1")


def left_open(builder: HistoryBuilder) -> None:
    builder.after["open"].append("id-j1")


def live_channel(builder: HistoryBuilder) -> None:
    builder.after["channels"].append("readalong:job:{id-j1}:live")


def left_watcher(builder: HistoryBuilder) -> None:
    builder.after["hubs"].append("<Hub feeds=0 watchers=1 <PubSubConnection up>>")


def a_silent_hub(builder: HistoryBuilder) -> None:
    builder.after["hubs"].append("")


def model_calls_left(builder: HistoryBuilder) -> None:
    builder.after["connections"]["model"] = 1


def connections_left(builder: HistoryBuilder) -> None:
    builder.after["connections"]["redis"] = 40


def files_left_open(builder: HistoryBuilder) -> None:
    builder.after["processes"]["worker-3"]["fds"] = 50


def no_time_to_live(builder: HistoryBuilder) -> None:
    builder.log("j1")["ttl"]["events"] = -1


PLANTED_FAULTS: Final[list[tuple[PlantedFault, Rule]]] = [
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
    (a_job_that_is_not_found, Rule.ANSWER),
    (another_content, Rule.CONTENT),
    (text_of_no_call, Rule.NOT_SENT),
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
    (a_job_of_no_submit, Rule.BILL),
    (one_call_too_many, Rule.BILL),
    (a_call_for_no_job, Rule.BILL),
    (cancelled_without_a_cancel, Rule.CANCELLED),
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
