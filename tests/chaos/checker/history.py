"""The history of a run, read from its directory: six files, one JSON object a line (`read`)."""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.chaos.checker.log import TERMINAL, VOIDS, Broken, Event, decompact
from tests.chaos.checker.report import Line

#: The last data line of a response to `POST /chat/stream`.
DONE: Final = "[DONE]"
#: Seconds that a client waits for a reply: the effect may be older than the line by this much.
_REPLY: Final = 10.0
_AFTER: Final = {
    "queue",
    "in_progress",
    "open",
    "channels",
    "connections",
    "hubs",
    "processes",
    "before",
    "memory",
    "shut",
}


#: The types of the last events of a response, by OpenAI's Responses.
RESPONSE_ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})


class BadHistory(ValueError):
    """Raised for files that no run writes."""


class Seen(NamedTuple):
    """An event as a client received it."""

    t: float
    id: int
    type: str
    data: str
    #: The epoch in its id.
    epoch: str = ""

    @property
    def log_lost(self) -> bool:
        """Whether it says that Redis has lost events that the client saw."""
        return self.type == "restarted" and json.loads(self.data).get("reason") == "log_lost"

    def line(self, watch: str) -> Line:
        named = {"epoch": self.epoch} if self.epoch else {}
        shown = {"kind": "event", "watch": watch, "id": self.id, **named, "type": self.type, "data": self.data}
        return Line("clients.jsonl", self.t, shown)


@dataclass(slots=True)
class Watch:
    """One connection of a client: the events after position `after`."""

    name: str
    job: str
    after: int
    open: Line
    events: list[Seen] = field(default_factory=list)
    close: Line | None = None
    #: The data lines of a response to `POST /chat/stream` or of a face, in place of events.
    said: list[Line] = field(default_factory=list)

    @property
    def chat(self) -> bool:
        return self.form == "chat"

    @property
    def form(self) -> str:
        """`chat`, or the face that it speaks; "" for the native events."""
        return str(self.open.record.get("form", ""))

    @property
    def face(self) -> bool:
        return self.form not in ("", "chat")

    @property
    def whole(self) -> bool:
        """Whether it is one whole answer by a face, or its error."""
        return "whole" in self.open.record

    @property
    def position(self) -> int:
        """Where it ends: a face's client counts what it gets."""
        if self.face:
            return self.after + len(self.said)
        return self.events[-1].id if self.events else self.after

    @property
    def epoch(self) -> str:
        """The epoch of its first position."""
        return str(self.open.record.get("epoch", ""))

    @property
    def ended(self) -> bool:
        """Whether the last event is a terminal one."""
        if self.form:
            return any(self.whole or _is_end(line.record["data"]) for line in self.said[-1:])
        return any(seen.type in TERMINAL for seen in self.events[-1:])

    @property
    def how(self) -> str | None:
        return None if self.close is None else self.close.record["how"]


@dataclass(slots=True)
class Client:
    """A chain of watches, from the client's first position on."""

    name: str
    job: str
    after: int
    begin: Line
    watches: list[Watch] = field(default_factory=list)
    end: Line | None = None


@dataclass(slots=True)
class Call:
    """A request to the model. `text` is all that the model sent, once the call is closed."""

    id: str
    tag: str
    model: str
    status: int | None
    request: Line
    closed: Line | None = None

    @property
    def t(self) -> float:
        assert self.request.t is not None
        return self.request.t

    @property
    def refused(self) -> bool:
        return self.status is not None and self.status >= 400

    @property
    def text(self) -> str:
        return "" if self.closed is None else self.closed.record["text"]

    @property
    def state(self) -> str:
        return "open" if self.closed is None else self.closed.record["state"]


@dataclass(slots=True)
class Job:
    """A job as Redis held it at the end. `log` is decompacted; `broken` says why it could not be."""

    id: str
    hash: dict[str, str]
    entries: list[Any]
    ttl: dict[str, int | None]
    log: list[Event] = field(default_factory=list)
    broken: Broken | None = None
    tag: str | None = None
    #: The job options of its submit.
    terms: dict[str, Any] = field(default_factory=dict)
    #: Whether the call that submitted it has it cancelled when its last watcher has left.
    chat: bool = False

    def __post_init__(self) -> None:
        try:
            self.log = decompact(self.entries)
        except Broken as broken:
            self.broken = broken

    @property
    def created(self) -> float:
        return int(self.hash["created_at"]) / 1000

    @property
    def ended(self) -> float | None:
        return int(self.hash["ended_at"]) / 1000 if "ended_at" in self.hash else None

    @property
    def ends(self) -> list[Event]:
        return [event for event in self.log if event.type in TERMINAL]

    @property
    def begun(self) -> list[Event]:
        """Returns its `started` and each `restarted`."""
        return [event for event in self.log if event.type in VOIDS]

    def line(self, *places: int) -> Line:
        """The end in the hash, or entries of the log, as a line of a report."""
        if places:
            return Line("logs.jsonl", None, {"job": self.id, "entries": [self.entries[place] for place in places]})
        shown = {name: self.hash[name] for name in ("status", "attempt", "last_seq", "ended_at") if name in self.hash}
        return Line("logs.jsonl", None, {"job": self.id, "hash": shown})


@dataclass(slots=True)
class History:
    run: dict[str, Any]
    submits: list[Line] = field(default_factory=list)
    cancels: list[Line] = field(default_factory=list)
    cancels_of: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    erases_of: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    clients: dict[str, Client] = field(default_factory=dict)
    watches: dict[str, Watch] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    faults: list[Line] = field(default_factory=list)
    lags: list[Line] = field(default_factory=list)
    #: The attacks on the APIs, and their outcomes.
    attacks: list[Line] = field(default_factory=list)
    #: The periods of which Redis then lost all data.
    losses: list[tuple[float, float]] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    calls_of: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    watches_of: dict[str, list[Watch]] = field(default_factory=lambda: defaultdict(list))

    @property
    def accepted(self) -> dict[str, Line]:
        """The first reply that names each job, by its id."""
        found: dict[str, Line] = {}
        for line in self.submits:
            if line.record["job"] is not None:
                found.setdefault(line.record["job"], line)
        return found

    def may_lose(self, t: float | None) -> bool:
        """Whether Redis may have lost, by design, data from shortly before a client's line of this time."""
        return any(since <= (t or 0.0) <= until + _REPLY for since, until in self.losses)

    def forgot(self, job: Job) -> bool:
        """Whether Redis may have lost data of this job."""
        end = inf if job.ended is None else job.ended
        return any(since <= end and until + _REPLY >= job.created for since, until in self.losses)

    def lost(self, job_id: str) -> bool:
        """Whether Redis may have lost the whole job: it was accepted in a period of lost data."""
        replies = [line for line in self.submits if line.record["job"] == job_id]
        return bool(replies) and all(self.may_lose(line.t) for line in replies)

    def erased(self, job_id: str) -> bool:
        """Whether a client asked to erase it, and Redis does not have it."""
        return job_id in self.erases_of and job_id not in self.jobs

    def asked_to_erase(self, job_id: str, by: float | None) -> bool:
        """Whether a client asked to erase it before that time."""
        return any(line.record["asked"] <= (by or 0.0) for line in self.erases_of.get(job_id, ()))


def read(directory: Path) -> History:
    """Raises BadHistory for files that do not fit together, OSError for a missing file."""
    history = History(json.loads((directory / "run.json").read_text("utf-8")))
    for line in _lines(directory / "logs.jsonl"):
        record = line.record
        history.jobs[record["job"]] = Job(record["job"], record["hash"], record["entries"], record["ttl"])
    for line in _lines(directory / "clients.jsonl"):
        _add_client_line(history, line)
    for line in _lines(directory / "model.jsonl"):
        _add_model_line(history, line)
    faults: dict[tuple[Any, ...], Line] = {}
    for line in _lines(directory / "faults.jsonl"):
        if line.record["kind"] == "lag":
            history.lags.append(line)
        else:
            # A fault written at its start and again at its end: the last line counts.
            faults[line.t, line.record["kind"], line.record.get("target")] = line
    history.faults = list(faults.values())
    history.losses = [
        (float(line.record["since"]), float(line.record["until"] or inf))
        for line in history.faults
        if "since" in line.record
    ]
    history.after = json.loads((directory / "after.json").read_text("utf-8"))
    if missing := _AFTER - history.after.keys():
        raise BadHistory(f"after.json: {sorted(missing)} missing")
    if history.erases_of and "traces" not in history.after:
        raise BadHistory("after.json: what is left of erased jobs is missing")
    _tie(history)
    return history


def _lines(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8") as lines:
        for number, text in enumerate(lines, 1):
            try:
                record = json.loads(text)
            except ValueError as error:
                raise BadHistory(f"{path.name}, line {number}: {error}") from None
            yield Line(path.name, record.get("t"), record)


def _add_client_line(history: History, line: Line) -> None:
    record = line.record
    try:
        match record["kind"]:
            case "event":
                data = sys.intern(record["data"])  # many clients receive the same data
                kind, epoch = sys.intern(record["type"]), sys.intern(record.get("epoch", ""))
                seen = Seen(record["t"], record["id"], kind, data, epoch)
                history.watches[record["watch"]].events.append(seen)
            case "said":
                history.watches[record["watch"]].said.append(line)
            case "submit":
                history.submits.append(line)
            case "cancel":
                history.cancels.append(line)
                history.cancels_of[line.record["job"]].append(line)
            case "attack":
                history.attacks.append(line)
            case "erase":
                history.erases_of[record["job"]].append(line)
            case "client":
                name = record["client"]
                history.clients[name] = Client(name, record["job"], record["after"], line)
            case "open":
                watch = Watch(record["watch"], record["job"], record["after"], line)
                history.watches[watch.name] = watch
                history.watches_of[watch.job].append(watch)
                history.clients[record["client"]].watches.append(watch)
            case "close":
                history.watches[record["watch"]].close = line
            case "client_end":
                history.clients[record["client"]].end = line
            case _:
                raise BadHistory(f"clients.jsonl: an unknown kind: {record}")
    except KeyError as missing:
        raise BadHistory(f"clients.jsonl: {missing} is missing for {dict(record)}") from None


def _add_model_line(history: History, line: Line) -> None:
    record = line.record
    if record["kind"] == "request":
        call = Call(record["call"], record["tag"], record["model"], record["status"], line)
        history.calls[call.id] = call
        history.calls_of[call.tag].append(call)
    elif record["call"] in history.calls:
        history.calls[record["call"]].closed = line
    else:
        raise BadHistory(f"model.jsonl: a call that was never made: {dict(record)}")


def _by_chat(submit: Line) -> bool:
    via = submit.record.get("via")
    return via in ("chat", "openai") or (via == "responses" and not submit.record["background"])


def _is_end(data: str) -> bool:
    return data == DONE or (data.startswith('{"type":"') and data.split('"', 4)[3] in RESPONSE_ENDS)


def _tie(history: History) -> None:
    """Finds the submit of each job: by the reply, or without one by the tag in its request."""
    for job_id, line in history.accepted.items():
        if (job := history.jobs.get(job_id)) is not None:
            job.tag, job.terms, job.chat = line.record["tag"], line.record.get("terms") or {}, _by_chat(line)
    by_tag = {line.record["tag"]: line for line in history.submits}
    # j1 must not match j17.
    words = re.compile("|".join(rf"(?<![\w-]){re.escape(tag)}(?![\w-])" for tag in by_tag) or r"(?!)")
    for job in history.jobs.values():
        if job.tag is None and (found := words.search(job.hash.get("request", ""))):
            job.tag = found.group()
            job.terms, job.chat = by_tag[job.tag].record.get("terms") or {}, _by_chat(by_tag[job.tag])
    for calls in history.calls_of.values():
        calls.sort(key=lambda call: call.t)
