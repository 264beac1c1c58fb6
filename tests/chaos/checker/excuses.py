"""All excuses for a job's end or a late close. Order, gaps, repeats, ends and zombies have no excuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any, Final

from tests.chaos.checker.history import Call, History, Job
from tests.chaos.checker.report import Line
from tests.chaos.checker.timeline import Timeline

#: Seconds that a model's connection may outlive its job, or its attempt.
_CLOSE: Final = 1.0
#: The most seconds until a model that was down is tried again, and until a call without a response times out.
_TRIED_AGAIN: Final = 12.0
#: Faults that end at once, unless their line has an end.
_MOMENTS: Final = frozenset(
    {"worker_kill", "worker_drain", "api_kill", "api_drain", "client_kill", "script_flush", "redis_flush"}
)
#: Faults of Redis that cost connections or scripts only: no lease, and at most a moment.
_BLINKS: Final = frozenset({"client_kill", "script_flush"})
#: Faults that end a worker, or make it give back its jobs: the kernel or the worker closes its connections.
_DEATHS: Final = frozenset({"worker_kill", "worker_drain"})

#: The codes that a misbehaving model explains, by its behaviour (docs/demo-model.md).
_OF_BEHAVIOUR: Final[Mapping[str, frozenset[str]]] = {
    "429": frozenset({"model_rate_limited"}),
    "500": frozenset({"model_error"}),
    "cut": frozenset({"model_cut"}),
    "reset": frozenset({"model_cut"}),
    "close-early": frozenset({"model_cut"}),
    "stall": frozenset({"model_stalled", "model_timeout", "job_timeout"}),
    "hang": frozenset({"model_timeout", "job_timeout"}),
    "slow-first-token": frozenset({"model_timeout"}),
    "malformed": frozenset({"model_malformed"}),
    "not-sse": frozenset({"model_malformed"}),
    "error": frozenset({"model_error"}),
    "endless": frozenset({"job_timeout"}),
}
#: The codes of a hostile model's jobs, by its kind of answer (docs/security.md, docs/protocol.md).
_OF_HOSTILE: Final[Mapping[str, str]] = {
    "text": "model_answer_too_large",
    "line": "model_answer_too_large",
    "comments": "model_answer_too_large",
    "arguments": "model_answer_too_large",
    "calls": "model_answer_too_large",
    "fields": "model_answer_too_large",
    "names": "model_answer_too_large",
    "choices": "model_answer_too_large",
    "gzip": "model_answer_too_large",
    "deep": "model_malformed",
    "page": "model_malformed",
    "garbage": "model_malformed",
    "refusal": "model_bad_request",
    "redirect": "model_redirected",
    "redirect-loop": "model_redirected",
    "redirect-get": "model_redirected",
    "silence": "model_timeout",
    "dribble": "job_timeout",
}
#: The codes that a broken way to the model explains, by its fault; each explains a `job_timeout` too.
_OF_WAY: Final[Mapping[str, frozenset[str]]] = {
    "model_cut": frozenset({"model_cut", "model_unreachable", "model_timeout"}),
    "model_silent": frozenset({"model_cut", "model_unreachable", "model_timeout", "model_stalled"}),
    "model_slow": frozenset({"model_timeout"}),
}
#: Behaviours that make a worker repeat the request before the first token.
_ASKED_AGAIN: Final = frozenset({"429", "500", "error", "cut", "reset", "close-early", "garbage"})
#: Codes of time limits, which a stopped worker finds exceeded when it continues.
_LIMITS: Final = frozenset({"model_timeout", "model_stalled", "job_timeout"})
#: Reasons for a restart of a job that its worker does not run to the end. A worker whose lease Redis lost may give the
#: job back.
_OF_WORKER: Final = frozenset({"worker_lost", "worker_stopped"})
#: Reasons that count as a lost attempt; `worker_stopped` does not.
_COUNTED: Final = frozenset({"worker_lost", "model_cut", "model_stalled"})


class Excuses:
    def __init__(self, history: History) -> None:
        self._history = history
        self._lease = float(history.run["lease"])
        #: Seconds after a fault in which each process that it hit has noticed its end: a worker renews its leases,
        #: waits for a reply on a half-open connection, and pauses before it tries again.
        self._settle = self._lease + self._seconds("redis_timeout", 5.0) + 1.0
        self._faults = Timeline((line.t or 0.0, self._over(line), line) for line in history.faults)
        self._lags = Timeline((line.t or 0.0, (line.t or 0.0) + line.record["seconds"], line) for line in history.lags)
        self._long_lags = Timeline((line.t or 0.0, self._over(line), line) for line in self._long(history.lags))

    def _long(self, lags: list[Line]) -> Iterator[Line]:
        """Yields the lags that cost a lease: half a lease late, alone or with those that follow within a lease, and one
        renewal, due each third of a lease, may have been missed."""
        for line in lags:
            begin = line.t or 0.0
            near = (one for one in self._lags.between(begin, begin + self._lease) if (one.t or 0.0) >= begin)
            if sum(float(one.record["seconds"]) for one in near) >= self._lease / 2:
                yield line

    def disturbances(self, job: Job) -> list[Line]:
        """Returns the faults that overlap the job's life or ended a moment before it, and lags that cost a lease."""
        begin, end, pids = job.created, job.ended or inf, pids_of(job)
        found = self._faults.between(begin, end)
        hit = [line for line in found if _hits(line, pids) or not (_of_worker(line) or _of_way(line))]
        return hit + self._long_lags.between(begin, end)

    def failure(self, job: Job, code: str) -> bool:
        """Whether a fault, the model or the job's own options explain its failure with this code."""
        faults = self.disturbances(job)
        calls = self._history.calls_of[job.tag or ""]
        if code in told(job, calls):
            return True
        if code in _LIMITS and any(_holds_up(line) for line in faults):
            return True
        if any(self._cut_off(line, code) for line in faults):
            return True
        return _EXPLAINED[code](self, job, faults) if code in _EXPLAINED else False

    def restart(self, job: Job, reason: str, pid: int | None) -> bool:
        """Whether a fault, or the job's own model, explains its restart after this process had it."""
        if reason in told(job, self._history.calls_of[job.tag or ""]):
            return True
        if reason in _OF_WORKER:
            hit, pids = self.disturbances(job), pids_of(job)
            return any(_cuts_off(line, pids) or _of_worker(line) or line.record["kind"] == "lag" for line in hit)
        return self._of_way(job, reason, pid)

    def wait(self, job: Job, reason: str, pid: int | None) -> bool:
        """Whether the job's own model, or this process' way to the models, explains the wait there."""
        return reason in told(job, self._history.calls_of[job.tag or ""]) or self._of_way(job, reason, pid)

    def _of_way(self, job: Job, code: str, pid: int | None) -> bool:
        """Whether such a process' way to the models was broken, or had been a moment before: the worker tries it again
        after some seconds. A stopped process finds a time limit exceeded.
        """
        if code in _LIMITS and any(_holds_up(line) for line in self.disturbances(job)):
            return True
        found = self._faults.between(job.created - _TRIED_AGAIN, job.ended or inf)
        of_process = pids_of(job) if pid is None else {pid}
        return any(_of_way(line) and _hits(line, of_process) and code in _OF_WAY[line.record["kind"]] for line in found)

    def shut_until(self, shut: float, worker: str) -> float:
        """Returns the latest time until which such a worker, which takes no jobs since `shut`, may stay so: it needs a
        job, and its model must have started to answer.
        """
        limit = self._seconds("model_patience", 60.0) + self._seconds("first_token_timeout", 600.0)
        return self._by(shut, lambda line: _keeps_from_work(line, worker), limit)

    def busy(self, replica: int, begin: float, end: float) -> bool:
        """Whether an API was broken meanwhile, or the machine was busy."""
        found = self._faults.between(begin, end) + self._lags.between(begin, end)
        return any(line.record["kind"] == "lag" or line.record["target"] == f"api-{replica}" for line in found)

    def held_back(self, replica: int, begin: float, end: float) -> bool:
        """Whether a command of an API may have reached Redis late: it, Redis or the way between them was held up."""
        return any(
            line.record["target"] == f"api-{replica}" or _of_redis(line)
            for line in self._faults.between(begin, end)
            if line.record["kind"] not in ("api_kill", "api_drain")
        )

    def close_by(self, due: float, pids: Iterable[int] | None) -> float:
        """Returns the latest end of a call that should end at `due`, made by one of these processes (None: by any).

        A stopped worker cannot close before it continues. A worker without Redis cannot know that it should. A silent
        way to the model forwards no close.
        """
        return self._by(due, lambda line: self._hinders(line, pids) or _holds_back(line, pids))

    def heed_by(self, due: float) -> float:
        """Returns the latest time until which a worker may miss a stop that it should receive at `due`."""
        return self._by(due, lambda line: self._hinders(line, None))

    def _by(self, due: float, hinders: Callable[[Line], bool], spare: float = _CLOSE) -> float:
        by, lags = due + spare, 0
        while True:
            before = by
            for line in self._faults.between(due, by):
                if hinders(line):
                    by = max(by, self._over(line) + spare)
            # By their start: those that a later `by` adds come last.
            found = self._lags.between(due, by)
            by += sum(float(line.record["seconds"]) for line in found[lags:])
            lags = len(found)
            if by == before:
                return by

    def orphaned(self, job: Job) -> bool:
        """Whether the job's policy cancels it without watchers, and no watcher was there, or could be reported, before
        its end.
        """
        # This policy is the default for jobs of /chat/stream.
        if not job.terms.get("cancel_on_disconnect", job.chat) or job.ended is None:
            return False
        # A watcher that returned within this last moment may have been too late.
        came = job.ended - min(1.0, self._seconds("disconnect_grace", 10.0))
        watched = any(
            watch.open.record["status"] == 200
            and watch.open.record.get("asked", watch.open.t or 0.0) <= came
            and (watch.close is None or (watch.close.t or 0.0) >= job.ended)
            for watch in self._history.watches_of[job.id]
        )
        # An API without Redis cannot report its watchers.
        return not watched or any(not (_of_worker(line) or _of_way(line)) for line in self.disturbances(job))

    def _worker_lost(self, job: Job, faults: list[Line]) -> bool:
        """The attempts are used up, and faults hit the workers or their way to Redis."""
        lost = 1 + sum(event.fields.get("reason") in _COUNTED for event in job.begun)
        policy = job.terms.get("on_worker_lost") or job.hash.get("on_worker_lost", "retry")
        # Redis may have lost some of them in the log and still count them, or the reverse.
        forgot = self._history.forgot(job)
        used_up = policy == "fail" or forgot or lost >= int(self._history.run["max_attempts"])
        return used_up and any(_of_redis(line) or _costs_a_lease(line) for line in faults)

    def _redis_outage(self, job: Job, faults: list[Line]) -> bool:
        """A worker had no Redis for as long as it waits; faults may overlap."""
        begin, over, longest = 0.0, 0.0, 0.0
        for line in sorted((line for line in faults if _of_redis(line)), key=lambda line: line.t or 0.0):
            if (line.t or 0.0) > over:
                begin = line.t or 0.0
            over = max(over, self._over(line))
            longest = max(longest, over - begin)
        return longest >= float(self._history.run["outage"])

    def _model_timeout(self, job: Job, _: list[Line]) -> bool:
        """The request had to be repeated, and the repeats of the last attempt used up the time to the first token."""
        limit = self._seconds("first_token_timeout", 120.0)
        calls = self._history.calls_of[job.tag or ""]
        end = job.ended or inf
        last = [call.t for call in calls if end - limit - 1.0 <= call.t <= end]
        names = [*_behaviours(job, calls), *(call.model.removeprefix("hostile-") for call in calls)]
        asked_again = any(name in _ASKED_AGAIN for name in names)
        late = sum(float(line.record["seconds"]) for line in self._lags.between(end - limit - 1.0, end))
        return asked_again and len(last) > 1 and end - min(last) >= limit - 1.0 - late

    @staticmethod
    def _deadline(job: Job) -> bool:
        """The job's deadline had passed."""
        return job.ended is not None and "deadline" in job.hash and job.ended >= int(job.hash["deadline"]) / 1000

    def _job_timeout(self, job: Job, faults: list[Line]) -> bool:
        """The job's time was up: its model answered for so long, or something delayed it."""
        assert job.ended is not None
        limit = self._seconds("job_timeout", 3600.0)
        calls = self._history.calls_of[job.tag or ""]
        spoke = any(call.closed is not None and (call.closed.t or 0.0) - call.t >= limit - 1.0 for call in calls)
        slow = spoke or misbehaves(job, calls) or any(_of_redis(line) or _of_way(line) for line in faults)
        return slow and job.ended - job.created >= limit

    def _cut_off(self, line: Line, code: str) -> bool:
        """Whether a broken way to the model explains such an end; `_job_timeout` covers the job's time."""
        if code not in _OF_WAY.get(line.record["kind"], ()):
            return False
        lasted = float(line.record["until"] or inf) - (line.t or 0.0)
        return code != "model_stalled" or lasted >= self._seconds("stall_timeout", 60.0) - 1.0

    def _seconds(self, name: str, default: float) -> float:
        """Returns a setting of the run's processes."""
        settings = self._history.run.get("settings", {})
        return float(settings.get(f"READALONG_{name.upper()}", default))

    def _hinders(self, line: Line, pids: Iterable[int] | None) -> bool:
        """Whether the fault keeps such a worker from closing a connection, or from knowing that it should."""
        if line.record["kind"] in _BLINKS | _DEATHS:
            return False
        return (_of_worker(line) and _hits(line, pids)) or _cuts_off(line, pids)

    def _over(self, line: Line) -> float:
        """Returns the time after which no process notices the fault any more."""
        until = line.record.get("until")
        if until is None:
            lasted = line.record.get("seconds", 0.0 if line.record["kind"] in _MOMENTS else inf)
            until = (line.t or 0.0) + lasted
        # A broken way to the model costs no lease, and its repair is noticed at once.
        return float(until or 0.0) + (_CLOSE if _of_way(line) else self._settle)


def asked(history: History, job: Job) -> list[Line]:
    """Returns the cancel requests that may precede the job's end; their lines have the time of the reply."""
    reply = 30.0  # the longest that a client waits for a reply
    end = inf if job.ended is None else job.ended
    return [line for line in history.cancels_of[job.id] if (line.t or 0.0) <= end + reply]


def pids_of(job: Job) -> frozenset[int]:
    """Returns the processes that ran it, or were about to."""
    workers = [event.fields.get("worker") for event in job.begun]
    if "worker" in job.hash:
        workers.append(json.loads(job.hash["worker"]))
    return frozenset(worker["pid"] for worker in workers if isinstance(worker, dict) and "pid" in worker)


def told(job: Job, calls: Iterable[Call]) -> frozenset[str]:
    """Returns the codes that its model was told to cause, if any."""
    found = [_OF_BEHAVIOUR.get(name, frozenset[str]()) for name in _behaviours(job, calls)]
    if kind := hostile_kind(job):
        found.append(frozenset({_OF_HOSTILE[kind]}))
    if kind == "garbage":
        # Its server cuts some connections before a response, and then the model's jobs wait for it.
        found.append(frozenset({"model_unreachable"}))
    return frozenset().union(*found)


def hostile_kind(job: Job) -> str:
    """Returns the kind of its model's answer if the model is hostile; else ""."""
    name = job.hash.get("model", "")
    return name.removeprefix("hostile-") if name.startswith("hostile-") else ""


def misbehaves(job: Job, calls: Iterable[Call]) -> bool:
    """Whether its model was told to fail in any way."""
    return bool(told(job, calls))


def _behaviours(job: Job, calls: Iterable[Call]) -> Iterator[str]:
    """Returns the behaviours of its model, from its name or from `demo.behaviour` of the request."""
    for name in {job.hash.get("model", ""), *(call.model for call in calls)}:
        if name.startswith("demo-"):
            yield from name.removeprefix("demo-").split("+")
    demo: dict[str, Any] = json.loads(job.hash.get("request", "{}")).get("demo") or {}
    told = demo.get("behaviour") or []
    yield from [told] if isinstance(told, str) else told


def _of_worker(line: Line) -> bool:
    return str(line.record["kind"]).startswith("worker_")


def _of_way(line: Line) -> bool:
    """Whether the fault hits workers' ways to the model."""
    return line.record["kind"] in _OF_WAY


def _holds_back(line: Line, pids: Iterable[int] | None) -> bool:
    """Whether it keeps such a worker's close from the model."""
    return line.record["kind"] == "model_silent" and _hits(line, pids)


def _keeps_from_work(line: Line, worker: str) -> bool:
    """Whether it makes this worker take no jobs, or stops its calls."""
    here = str(line.record.get("target", "")) in (worker, "all")
    return _of_redis(line) or (here and (_of_worker(line) or _of_way(line)))


def _hits(line: Line, pids: Iterable[int] | None) -> bool:
    """Whether it names one of these processes; None: any."""
    return pids is None or not {line.record.get("pid"), *line.record.get("pids", ())}.isdisjoint(pids)


def _of_api(line: Line) -> bool:
    """Whether it hits an API, or its way to Redis."""
    return str(line.record["kind"]).startswith("api_") or str(line.record.get("target", "")).startswith("api")


def _costs_a_lease(line: Line) -> bool:
    """Whether it may cost a worker its attempt. A drained worker gives its jobs back, which uses no attempt up."""
    return line.record["kind"] == "lag" or (_of_worker(line) and line.record["kind"] != "worker_drain")


def _holds_up(line: Line) -> bool:
    """Whether it makes a process that survives find more time gone."""
    return line.record["kind"] == "lag" or (_of_worker(line) and line.record["kind"] not in _DEATHS)


def _of_redis(line: Line) -> bool:
    """Whether it hits Redis, or a worker's way to it; an API's way costs no lease."""
    kind = str(line.record["kind"])
    if kind.startswith("proxy_"):
        return not _of_api(line)
    return kind.startswith("redis_") or kind in _BLINKS


def _cuts_off(line: Line, pids: Iterable[int] | None) -> bool:
    """Whether it cuts such a worker off from Redis. A way cuts off only the process that its line names."""
    return _of_redis(line) and ("pid" not in line.record or _hits(line, pids))


#: The codes that faults and options explain. Nothing explains any other code, such as `internal_error`.
_EXPLAINED: Final[Mapping[str, Callable[[Excuses, Job, list[Line]], bool]]] = {
    "worker_lost": Excuses._worker_lost,
    "redis_outage": Excuses._redis_outage,
    "job_timeout": Excuses._job_timeout,
    "model_timeout": Excuses._model_timeout,
    "deadline_exceeded": lambda _, job, __: Excuses._deadline(job),
}
