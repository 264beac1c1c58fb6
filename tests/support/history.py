"""Invariants of a job's log and of each watcher's history. Each check returns a list of faults."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tests.support.client import Entry

TEXT = frozenset({"content", "reasoning", "refusal"})
VOIDS = frozenset({"started", "restarted"})


def appended(rows: Sequence[tuple[str, dict[str, str]]]) -> list[Entry]:
    """Returns the events of a log's stream as they were appended; the stream may be compacted."""
    entries: list[Entry] = []
    for entry_id, row in rows:
        seq, fields = int(entry_id.removesuffix("-0")), json.loads(row["data"])
        if "pieces" not in row:
            entries.append(Entry(seq, row["type"], row["data"]))
            continue
        lengths = [int(length) for length in row["pieces"].split(",")]
        if "from" in row:
            start = int(row["from"])
            fields = {"content": json.loads(rows[-1][1]["data"])["content"][start : start + sum(lengths)]}
        whole, start = fields["content"], 0
        assert len(whole) == sum(lengths), f"the pieces of entry {entry_id} are not its text"
        for number, length in enumerate(lengths, seq - len(lengths) + 1):
            piece = {**fields, "content": whole[start : start + length]}
            data = json.dumps(piece, ensure_ascii=False, separators=(",", ":"))
            entries.append(Entry(number, row["type"], data))
            start += length
    return entries


def text(entries: Sequence[Entry], choice: int = 0) -> str:
    """Returns the content of one choice since the last `restarted`."""
    parts: list[str] = []
    for entry in entries:
        if entry.event in VOIDS:
            parts.clear()
        elif entry.event == "content" and entry.fields.get("choice", 0) == choice:
            parts.append(entry.fields["content"])
    return "".join(parts)


def kinds(entries: Sequence[Entry]) -> list[str]:
    """Returns the types in order, without repeated neighbours: `["queued", "started", "content", "done"]`."""
    names = [entry.event or "" for entry in entries]
    return [name for place, name in enumerate(names) if place == 0 or names[place - 1] != name]


def faults_of_log(log: Sequence[Entry]) -> list[str]:
    """Checks the log of an ended job: its numbers, its one terminal event, its attempts, its text."""
    faults = []
    numbers = [entry.id for entry in log]
    if numbers != list(range(1, len(log) + 1)):
        faults.append(f"the numbers are not 1 to {len(log)}: {numbers}")
    ends = [entry for entry in log if entry.terminal]
    if len(ends) != 1 or not log[-1].terminal:
        faults.append(f"not one end at the end: {[(entry.id, entry.event) for entry in ends]} of {len(log)}")
    if not log or log[0].event != "queued":
        faults.append("the first event is not `queued`")
    attempts = [entry.fields["attempt"] for entry in log if entry.event in VOIDS]
    rising = all(before < after for before, after in pairwise(attempts))
    begun = [entry.event for entry in log if entry.event in VOIDS]
    if not rising or (begun and begun != ["started", *["restarted"] * (len(begun) - 1)]):
        faults.append(f"the attempts are {list(zip(begun, attempts, strict=True))}")
    if len(ends) == 1 and ends[0].fields["content"] != text(log):
        faults.append(f"the end's content is not the text: {ends[0].fields['content']!r}, not {text(log)!r}")
    return faults


def faults_of_history(history: Sequence[Entry], log: Sequence[Entry], after: int = 0) -> list[str]:
    """Checks the history of one watcher from position `after` to the end.

    Each entry stands for the log's events since the previous entry up to its number: one event, or several merged
    pieces of text of one kind and choice. No log has the events before a `restarted` with reason `log_lost`; the
    watcher continues with the attempt that this event names.
    """
    faults = []
    position = after
    told = max((place for place, entry in enumerate(history) if entry.log_lost), default=None)
    if told is not None:
        position = history[told].id or 0
        begun = [entry for entry in log if entry.id == position]
        if [entry.fields.get("attempt") for entry in begun] != [history[told].fields["attempt"]]:
            faults.append(f"event {position} is {history[told]}, the log has {begun}")
        history = history[told + 1 :]
    for entry in history:
        if entry.id is None:
            faults.append(f"an event without a number: {entry}")
            continue
        if entry.id <= position:
            faults.append(f"event {entry.id} came again, or late: the position was {position}")
            continue
        covered = [event for event in log if position < (event.id or 0) <= entry.id]
        if len(covered) != entry.id - position:
            faults.append(f"event {entry.id} is not in the log, which ends at {log[-1].id if log else 0}")
        elif (said := _joined(covered)) is None:
            faults.append(f"a gap: {position} is followed by {entry.id}; between is {kinds(covered)}")
        elif (saw := (entry.event, entry.fields)) != said:
            faults.append(f"event {entry.id} is {saw}, the log has {said}")
        position = entry.id
    if log and position != log[-1].id:
        faults.append(f"the history ends at {position}, the log at {log[-1].id}")
    return faults


def assert_whole(log: Sequence[Entry], *histories: Sequence[Entry], after: Sequence[int] = ()) -> None:
    """Asserts that the log of an ended job is valid and that each history matches it, from 0 or from `after`."""
    faults = faults_of_log(log)
    for place, history in enumerate(histories):
        start = after[place] if after else 0
        faults += [f"watcher {place}: {fault}" for fault in faults_of_history(history, log, start)]
        if start == 0 and text(history) != text(log):
            faults.append(f"watcher {place}: its text is not the log's")
    assert not faults, "\n".join(faults)


def _joined(events: Sequence[Entry]) -> tuple[str | None, dict[str, Any]] | None:
    """Returns type and data of the entry that covers these events; None if no entry may cover them."""
    first = events[0].fields
    for event in events[1:]:
        fields = event.fields
        same = event.event == events[0].event and fields.get("choice") == first.get("choice")
        if not same or event.event not in TEXT or not {*fields, *first} <= {"content", "choice"}:
            return None
    if len(events) > 1:
        first["content"] = "".join(event.fields["content"] for event in events)
    return events[0].event, {"type": events[0].event, **first}
