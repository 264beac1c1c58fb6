"""A job's log against a model of it in plain Python, under random calls in random order on a real server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from arq.connections import ArqRedis
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from readalong.core.errors import Fenced
from readalong.core.events import Event, merge, parse_live
from readalong.core.states import TERMINAL, Status, can_move
from readalong.redis.client import connect
from readalong.redis.facade import RedisFacade
from readalong.store.epochs import Epochs, epoch_of
from readalong.store.job_record import parse
from readalong.store.log import AppendResult, ClaimStatus, Log
from tests.readalong.helpers import JOB_TTL, RETENTION, command, history, settings_for
from tests.readalong.jobs import WORKER, content, end, submission

Drafts = list[tuple[str, bytes]]
tokens = itertools.count(1)


@dataclass
class Model:
    """The model of a job in plain Python: the scripts must agree with it after every step."""

    max_attempts: int
    status: Status = Status.QUEUED
    attempt: int = 0
    lost: int = 0
    flag: str | None = None
    handover: str | None = None
    claim: str | None = None
    log: Drafts = field(default_factory=list)
    epochs: Epochs = field(default_factory=Epochs)
    compacted: bool = False

    def refusal(self, attempt: int) -> str | None:
        if attempt != self.attempt or self.status == Status.QUEUED:
            return "fenced"
        return "ended" if self.status in TERMINAL else None


class LogMachine(RuleBasedStateMachine):
    """Random calls by old and new workers, clients and people, in random order."""

    def __init__(self, runner: asyncio.Runner, redis: ArqRedis, url: str) -> None:
        super().__init__()
        self.run: Callable[[Any], Any] = runner.run
        self.redis = redis
        self.url = url
        self.seen = (Status.QUEUED, 0)

    @initialize(max_attempts=st.integers(1, 4))
    def submit(self, max_attempts: int) -> None:
        config = settings_for(self.url, max_attempts=max_attempts)
        self.keys = config.keys
        self.logs = Log(RedisFacade(self.redis, config), config)
        self.model = Model(max_attempts)
        self.new = submission()
        self.id = self.new.job_id
        self.live = self.redis.pubsub()
        self.run(self.live.subscribe(self.keys.live(self.id)))
        created, _ = self.run(self.logs.submit(self.new))
        assert created
        self.model.log = [(event.type, event.data) for event in self.run(history(self.logs, self.id))]
        assert [kind for kind, _ in self.model.log] == ["queued"]

    @rule()
    def submit_again(self) -> None:
        created, record = self.run(self.logs.submit(self.new._replace(model="other")))
        assert not created
        assert (record.status, record.model) == (self.model.status, "m")

    @rule(repeated=st.booleans())
    def claim(self, repeated: bool) -> None:
        model = self.model
        token = model.claim if repeated and model.claim else f"t{next(tokens)}xyz"
        claim = self.run(self.logs.claim(self.id, WORKER, token))
        note(f"{claim}")
        if model.status in TERMINAL:
            assert claim.status == ClaimStatus.ENDED
        elif token == model.claim:
            assert (claim.status, claim.attempt, claim.note) == (ClaimStatus.RUN, model.attempt, model.flag or "")
        elif model.status == Status.QUEUED and model.flag is not None:
            assert claim.status == ClaimStatus.ENDED
            self.cancelled_while_queued()
        elif model.status == Status.QUEUED:
            model.status, model.attempt, model.claim = Status.RUNNING, 1, token
            epoch = self.begin_epoch(token)
            model.log.append(("started", b'{"attempt":1,"epoch":"%s","worker":%s}' % (epoch, WORKER)))
            assert (claim.status, claim.attempt) == (ClaimStatus.RUN, 1)
        else:
            self.next_attempt(token, claim.status, claim.note)
        if claim.status not in (ClaimStatus.ENDED, ClaimStatus.GONE):
            assert (claim.attempt, claim.last_seq) == (model.attempt, len(model.log))

    def next_attempt(self, token: str, verdict: ClaimStatus, answered: str) -> None:
        model = self.model
        model.attempt += 1
        model.claim = None
        model.lost += model.handover is None
        reason = model.handover or "worker_lost"
        epoch = self.begin_epoch(token)
        if model.flag is not None:
            assert (verdict, answered) == (ClaimStatus.CANCELLED, model.flag)
        elif model.lost >= model.max_attempts:
            assert (verdict, answered) == (ClaimStatus.LOST, reason)
        else:
            assert verdict == ClaimStatus.RUN
            model.handover, model.claim = None, token
            said = (model.attempt, reason.encode(), epoch, WORKER)
            model.log.append(("restarted", b'{"attempt":%d,"reason":"%s","epoch":"%s","worker":%s}' % said))

    def begin_epoch(self, token: str) -> bytes:
        self.model.epochs.begin(len(self.model.log) + 1, epoch_of(token))
        return epoch_of(token).encode()

    def cancelled_while_queued(self) -> None:
        """The script wrote the end. The model cannot know its times."""
        self.model.status = Status.CANCELLED
        event = self.run(history(self.logs, self.id))[-1]
        assert event.type == "cancelled"
        self.model.epochs.begin(len(self.model.log) + 1, event.fields()["epoch"])
        assert event.fields()["by"] == (self.model.flag if self.model.flag in ("bob", "") else "ann")
        self.model.log.append((event.type, event.data))

    def part_of_the_log(self, back: int, new: Drafts) -> tuple[int, Drafts]:
        """Returns `new` with the newest `back` events in front, as a repeat sends them, and the number of the first
        event."""
        first = max(2, len(self.model.log) + 1 - back)
        return first, self.model.log[first - 1 :] + new

    @rule(stale=st.sampled_from([0, 0, 0, 1, -1, 5]), back=st.sampled_from([0, 0, 1, 3, 99]), size=st.integers(0, 3))
    def append(self, stale: int, back: int, size: int) -> None:
        first, drafts = self.part_of_the_log(back, content(*(f"t{next(tokens)}" for _ in range(size))))
        self.write(self.logs.append(self.id, self.model.attempt - stale, first, drafts), stale, first, drafts)

    @rule(beyond=st.integers(1, 9), final=st.booleans())
    @precondition(lambda self: self.model.status == Status.RUNNING)
    def leave_a_gap(self, beyond: int, final: bool) -> None:
        first = len(self.model.log) + 1 + beyond
        drafts = end() if final else content("lost")
        call = (
            self.logs.finish(self.id, self.model.attempt, first, drafts, {})
            if final
            else (self.logs.append(self.id, self.model.attempt, first, drafts))
        )
        assert self.run(call) == AppendResult("gap", len(self.model.log), None)

    @rule(
        stale=st.sampled_from([0, 0, 0, 1, -1]),
        back=st.sampled_from([0, 0, 2]),
        size=st.integers(0, 2),
        kind=st.sampled_from(sorted(TERMINAL)),
    )
    def finish(self, stale: int, back: int, size: int, kind: str) -> None:
        new = [*content(*(f"t{next(tokens)}" for _ in range(size))), *end(kind)]
        first, drafts = self.part_of_the_log(back, new)
        call = self.logs.finish(self.id, self.model.attempt - stale, first, drafts, {"metrics": b"{}"})
        if self.write(call, stale, first, drafts):
            self.model.status = Status(kind)

    @rule(size=st.integers(1, 3))
    @precondition(lambda self: self.model.status in TERMINAL and self.model.attempt > 0)
    def repeat_the_finish(self, size: int) -> None:
        first, drafts = self.part_of_the_log(size, [])
        answer = self.run(self.logs.finish(self.id, self.model.attempt, first, drafts, {}))
        assert answer == AppendResult("ok", len(self.model.log), None)

    @rule(stale=st.sampled_from([0, 0, 0, 1]), wrong=st.sampled_from([0, 0, 0, 1]), start=st.integers(2, 6))
    def compact(self, stale: int, wrong: int, start: int) -> None:
        """Any attempt may call it that believes that it has ended the job, with any position as its first."""
        model = self.model
        numbered = [Event(n, kind, data) for n, (kind, data) in enumerate(model.log, 1)]
        events = list(merge(numbered[start - 1 :]))
        if not events:
            return
        events[-1] = events[-1]._replace(seq=events[-1].seq + wrong)
        call = self.logs.compact(self.id, model.attempt - stale, start, events)
        allowed = model.status in TERMINAL and not (stale or wrong or model.compacted)
        assert self.run(call) == allowed
        model.compacted = model.compacted or (allowed and any(event.chunk_lengths for event in events))

    def write(self, call: Any, stale: int, first: int, drafts: Drafts) -> bool:
        """Makes the call; returns whether the scripts and the model both allowed it."""
        refused = self.model.refusal(self.model.attempt - stale)
        answer, code = None, None
        try:
            answer = self.run(call)
        except Fenced as error:
            code = error.code
        assert code == refused
        if answer is None:
            return False
        self.model.log += drafts[len(self.model.log) + 1 - first :]
        assert (answer.status, answer.last_seq) == ("ok", len(self.model.log))
        if drafts[-1:] and drafts[-1][0] not in TERMINAL:
            assert answer.cancel_flag == self.model.flag
        return True

    @rule(stale=st.sampled_from([0, 0, 1]), counts=st.booleans(), times=st.integers(1, 2))
    def hand_over(self, stale: int, counts: bool, times: int) -> None:
        refused = self.model.refusal(self.model.attempt - stale)
        for _ in range(times):
            call = self.logs.requeue(self.id, self.model.attempt - stale, "deploy", counts=counts)
            code = None
            try:
                self.run(call)
            except Fenced as error:
                code = error.code
            assert code == refused
            if refused is None:
                self.model.lost += counts and self.model.handover is None
                self.model.handover = "deploy"

    @rule()
    def cancel(self) -> None:
        model = self.model
        answer = self.run(self.logs.cancel(self.id, "ann"))
        if model.status not in TERMINAL and model.flag is None:
            model.flag = (self.run(self.redis.get(self.keys.cancel(self.id))) or b"").decode()
            assert orjson.loads(model.flag)["by"] == "ann"
        if model.status == Status.QUEUED:
            self.cancelled_while_queued()
        assert answer == model.status

    @rule(flag=st.sampled_from(["bob", ""]))
    @precondition(lambda self: self.model.status not in TERMINAL)
    def set_the_flag_by_hand(self, flag: str) -> None:
        self.run(self.redis.set(self.keys.cancel(self.id), flag))
        self.model.flag = flag

    @rule()
    def forget_the_scripts(self) -> None:
        self.run(command(self.redis, "SCRIPT", "FLUSH"))

    @rule()
    @precondition(lambda self: self.model.status not in TERMINAL)
    def keep_alive(self) -> None:
        assert self.run(self.logs.keep_alive([self.id])) == []
        if self.model.flag is not None:
            assert self.run(self.redis.pttl(self.keys.cancel(self.id))) > 0

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        record, entries, flag, *lives = self.run(self.look())
        if not self.model.compacted:
            assert [(n, e[b"type"].decode(), e[b"data"]) for n, e in entries] == [
                (b"%d-0" % n, kind, data) for n, (kind, data) in enumerate(self.model.log, 1)
            ]
        numbered = [Event(n, kind, data) for n, (kind, data) in enumerate(self.model.log, 1)]
        assert self.run(history(self.logs, self.id)) == numbered
        assert (record.status, record.attempt) == (self.model.status, self.model.attempt)
        assert record.last_seq == len(self.model.log)
        assert repr(Epochs(record.epochs)) == repr(self.model.epochs)
        assert flag == (None if self.model.flag is None else self.model.flag.encode())
        limit = RETENTION if self.model.status in TERMINAL else JOB_TTL
        # A flag that a person set gets its time to live when the job's is renewed, or at its end.
        kept = lives if self.model.flag is not None and self.model.status in TERMINAL else lives[:2]
        assert all(0 < ttl <= limit * 1000 for ttl in kept)

    async def look(self) -> Any:
        """Returns the record, the log, the flag and the times to live, all of one moment."""
        job, events, cancel, _ = self.keys.of_job(self.id)
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.hgetall(job)
            pipe.xrange(events)
            pipe.get(cancel)
            for name in (job, events, cancel):
                pipe.pttl(name)
            fields, *rest = await pipe.execute()
        return [parse(fields), *rest]

    @invariant()
    def every_move_is_legal(self) -> None:
        status, attempt = self.model.status, self.model.attempt
        if (status, attempt) != self.seen:
            assert can_move(self.seen[0], status)
            assert attempt == self.seen[1] + (status == Status.RUNNING)
        self.seen = (status, attempt)

    @invariant()
    def there_is_one_end_and_nothing_after_it(self) -> None:
        ends = [place for place, (kind, _) in enumerate(self.model.log, 1) if kind in TERMINAL]
        assert ends == ([len(self.model.log)] if self.model.status in TERMINAL else [])

    def teardown(self) -> None:
        """Checks that a listener has heard exactly the log, once and in order."""
        if hasattr(self, "live"):
            self.run(self.the_channel_has_said_it_all())

    async def the_channel_has_said_it_all(self) -> None:
        heard: list[Event] = []
        await self.redis.publish(self.keys.live(self.id), b"over")
        while True:
            message = await self.live.get_message(ignore_subscribe_messages=True, timeout=100)
            if message is None:
                continue
            if message["data"] == b"over":
                break
            heard += parse_live(message["data"])
        await self.live.aclose()
        assert heard == [Event(n, kind, data) for n, (kind, data) in enumerate(self.model.log, 1)]


def test_the_scripts_agree_with_a_model_whatever_is_called_in_whatever_order(redis_url: str) -> None:
    with asyncio.Runner() as runner:
        redis = connect(settings_for(redis_url))
        try:

            class Machine(LogMachine):
                def __init__(self) -> None:
                    super().__init__(runner, redis, redis_url)

            run_state_machine_as_test(
                Machine,
                settings=settings(
                    max_examples=60,
                    stateful_step_count=20,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow],
                ),
            )
        finally:
            runner.run(redis.aclose())
