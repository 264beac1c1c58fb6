"""An independent checker of a chaos run: `check(directory)`, or `python -m tests.chaos.checker DIR`.

It shares no code with its subject, nor with the other tests. It reads the records of the clients, the model and Redis,
and relies on docs/protocol.md and docs/redis.md only.

# Layout

- `history`    the files of a run
- `log`        a job's log, decompacted
- `jobs`       accepted jobs end once, attempts rise, keys have a time to live
- `watches`    clients saw the log
- `forgotten`  where Redis lost events, each client saw one attempt at a time
- `chats`      clients of /chat/stream saw the log, in its form
- `faces`      clients of OpenAI's chat completions, Responses and the AI SDK saw the log, each in its form
- `face_chat`, `face_responses`, `face_ai_sdk`  what each face makes of a log
- `told`       what one event of a face's stream means
- `texts`      the log has the text that the model sent
- `bill`       one job for each submit, no end without a reason
- `calls`      connections to the model end with their attempts
- `erased`     an erased job is gone, and its watchers were told
- `leaks`      nothing is left
- `hostile`    a hostile model or client harms only itself
- `excuses`    the effects that a fault excuses
- `timeline`   an index of faults by their duration
- `report`     violations, and their text
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos.checker.bill import check_bill
from tests.chaos.checker.calls import check_calls
from tests.chaos.checker.erased import check_erased
from tests.chaos.checker.excuses import Excuses, hostile_kind
from tests.chaos.checker.history import BadHistory, History, read
from tests.chaos.checker.hostile import check_hostile
from tests.chaos.checker.jobs import check_jobs
from tests.chaos.checker.leaks import check_leaks
from tests.chaos.checker.report import Line, Report, Rule, Violation
from tests.chaos.checker.texts import check_texts
from tests.chaos.checker.watches import check_watches

__all__ = ["BadHistory", "Line", "Report", "Rule", "Violation", "check"]


def check(directory: Path) -> Report:
    """Checks the run in this directory. Raises BadHistory, OSError for files that no run writes."""
    history = read(directory)
    excuses = Excuses(history)
    violations = [
        *check_jobs(history),
        *check_watches(history),
        *check_texts(history),
        *check_bill(history, excuses),
        *check_calls(history, excuses),
        *check_erased(history, excuses),
        *check_leaks(history),
        *check_hostile(history, excuses),
    ]
    return Report(history.run, violations, _counts(history))


def _counts(history: History) -> dict[str, Any]:
    ends = [job.ends[0] for job in history.jobs.values() if job.ends]
    codes = [event.fields["error"]["code"] for event in ends if event.type == "failed"]
    return {
        "submits": len(history.submits),
        "jobs": len(history.jobs),
        "outcomes": Counter(job.hash["status"] for job in history.jobs.values()),
        "codes": Counter(codes),
        "attempts": sum(len(job.begun) for job in history.jobs.values()),
        "events": sum(len(job.log) for job in history.jobs.values()),
        "clients": len(history.clients),
        "watches": len(history.watches),
        "chats": sum(watch.chat for watch in history.watches.values()),
        "faces": Counter(watch.form for watch in history.watches.values() if watch.face),
        "events by faces": sum(len(watch.said) for watch in history.watches.values() if watch.face),
        "repeats without a key": sum("late" in line.record and not line.record["key"] for line in history.submits)
        - len({line.record["tag"] for line in history.submits if "late" in line.record and not line.record["key"]}),
        "events seen": sum(len(watch.events) for watch in history.watches.values()),
        "model calls": Counter(call.state for call in history.calls.values() if not call.refused),
        "hostile jobs": Counter(kind for job in history.jobs.values() if (kind := hostile_kind(job))),
        "attacks": Counter(line.record["attack"] for line in history.attacks),
        "megabytes at most": {name: size // 1_000_000 for name, size in history.after["memory"].items()},
        "workers shut": len(history.after["shut"]),
        "cancels": len(history.cancels),
        "erased": sum(history.erased(job_id) for job_id in history.erases_of),
        "faults": Counter(line.record["kind"] for line in history.faults),
        "seconds late": round(sum(line.record["seconds"] for line in history.lags), 3),
    }
