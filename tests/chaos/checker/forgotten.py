"""Rule 2 where Redis lost events of a job: the log lacks some events that its clients saw.

Each client saw one attempt at a time, with the text of one model call, in order, and matches the rest of the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.checker.faces import check_forgotten_face
from tests.chaos.checker.history import DONE, Call, Client, Job, Seen, Watch
from tests.chaos.checker.log import TERMINAL, VOIDS, epochs_of, joined
from tests.chaos.checker.report import Line, Rule, Violation


@dataclass(slots=True)
class Stretch:
    """The text that a client saw since the last attempt started, and whether it saw that start."""

    whole: bool
    texts: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def fits(self, calls: Sequence[Call]) -> bool:
        """Whether one call sent this text, from the call's start if that was seen. An open call may send anything."""
        text = "".join(self.texts)
        if not text or any(call.closed is None and not call.refused for call in calls):
            return True
        return any(call.text.startswith(text) if self.whole else text in call.text for call in calls)


def check_forgotten(client: Client, job: Job, calls: Sequence[Call]) -> Iterator[Violation]:
    position, epoch = client.after, ""
    stretch = Stretch(whole=client.after == 0)
    for watch in client.watches:
        if watch.chat:
            fault = _chat(watch, job, calls)
        elif watch.face:
            fault = check_forgotten_face(watch, job, calls)
        else:
            fault = _order(watch, job) or _left(watch, job)
        if fault is not None:
            yield fault
            return
        if not watch.form and (watch.after, watch.epoch) != (position, epoch):
            stretch = Stretch(whole=watch.after == 0)
        for seen in watch.events:
            if seen.type in VOIDS:
                yield from _mixed(client, job, stretch, calls)
                stretch = Stretch(whole=True)
            elif seen.type == "content" and not (fields := json.loads(seen.data)).get("choice"):
                stretch.texts.append(fields["content"])
                stretch.lines.append(seen.line(watch.name))
            position, epoch = seen.id, seen.epoch
    yield from _mixed(client, job, stretch, calls)


def _mixed(client: Client, job: Job, stretch: Stretch, calls: Sequence[Call]) -> Iterator[Violation]:
    if not stretch.fits(calls):
        says = f"client {client.name} saw a text that no call has sent"
        lines = (stretch.lines[0], stretch.lines[-1], *(call.closed or call.request for call in calls))
        yield Violation(Rule.MIXED, job.id, says, lines)


def _order(watch: Watch, job: Job) -> Violation | None:
    """Numbers rise unless an event says that the log is lost; an epoch starts with an event that may start one."""
    before: Seen | None = None
    position, epoch = watch.after, watch.epoch
    for seen in watch.events:
        lines = (watch.open if before is None else before.line(watch.name), seen.line(watch.name))
        if before is not None and before.type in TERMINAL:
            return Violation(Rule.SECOND_END, job.id, f"watch {watch.name}: event {seen.id} after the end", lines)
        if not seen.log_lost and seen.id <= position:
            says = f"watch {watch.name}: event {seen.id} came again, after position {position}"
            return Violation(Rule.REPEAT, job.id, says, lines)
        if epoch and seen.epoch and seen.epoch != epoch and seen.type not in VOIDS | TERMINAL:
            says = f"watch {watch.name}: event {seen.id} is of epoch {seen.epoch}, after one of {epoch}"
            return Violation(Rule.MIXED, job.id, says, lines)
        before, position, epoch = seen, seen.id, seen.epoch
    over = watch.open.record["status"] == 204 and not watch.events
    if watch.how == "end" and not watch.ended and not over:
        says = f"watch {watch.name} was closed without an end"
        return Violation(Rule.MISSING_END, job.id, says, (watch.open, *([watch.close] if watch.close else [])))
    return None


def _left(watch: Watch, job: Job) -> Violation | None:
    """Events that the log still has, by the same claim, match; a finished attempt may say nothing there."""
    epochs = epochs_of(job.log)
    position = watch.after
    for seen in watch.events:
        covered = job.log[position : seen.id]
        mine = seen.id <= len(job.log) and {*epochs[position : seen.id]} == {seen.epoch} and not seen.log_lost
        void = any(event.type == "content" and event.fields["content"] == "" for event in covered)
        if mine and covered and seen.epoch and not void and joined(covered) != json.loads(seen.data):
            says = f"watch {watch.name}: event {seen.id} is not the log's"
            return Violation(Rule.BYTES, job.id, says, (seen.line(watch.name), job.line(covered[-1].place)))
        position = seen.id
    return None


def _chat(watch: Watch, job: Job, calls: Sequence[Call]) -> Violation | None:
    """The lines have no numbers; the text is of one call at a time, and nothing follows its end."""
    stretch = Stretch(whole=True)
    for place, line in enumerate(watch.said):
        if line.record["data"] == DONE:
            if place + 1 < len(watch.said):
                says = f"watch {watch.name}, of /chat/stream, continues after its end"
                return Violation(Rule.SECOND_END, job.id, says, (line, watch.said[place + 1]))
            continue
        said = json.loads(line.record["data"])
        if "restarted" in said:
            if not stretch.fits(calls):
                break
            stretch = Stretch(whole=True)
        elif isinstance(said.get("content"), str) and not said.get("choice"):
            stretch.texts.append(said["content"])
            stretch.lines.append(line)
    if not stretch.fits(calls):
        says = f"watch {watch.name}, of /chat/stream, has a text that no call has sent"
        return Violation(Rule.MIXED, job.id, says, (stretch.lines[0], stretch.lines[-1]))
    return None
