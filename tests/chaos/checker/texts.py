"""Rules 3 and 4: each attempt's text is that of a call of its own, and no event of a fenced attempt follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tests.chaos.checker.history import Call, History, Job
from tests.chaos.checker.jobs import sound
from tests.chaos.checker.log import VOIDS, Event
from tests.chaos.checker.report import Line, Rule, Violation


@dataclass(slots=True)
class Attempt:
    """The pieces of one attempt, and the call that sent them; None if the attempt has no text."""

    begin: Event
    pieces: list[Event] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    call: Call | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)


def check_texts(history: History) -> Iterator[Violation]:
    for job in history.jobs.values():
        calls = history.calls_of[job.tag or ""]
        # The text of an open call is unknown; the open call is a violation of its own.
        if job.tag is not None and sound(job) and not any(call.closed is None for call in calls if not call.refused):
            attempts = attempts_of(job, calls, in_order=not history.forgot(job))
            fault = _not_the_models(history, job, calls, attempts) or _not_the_end(job, attempts)
            if fault is not None:
                yield fault


def attempts_of(job: Job, calls: Sequence[Call], *, in_order: bool = True) -> list[Attempt]:
    """Returns the attempts in order, each with its call: the first call after the previous attempt's that sent its
    text. Where Redis lost a claim, `in_order` is false: the call may come after a later one.
    """
    attempts: list[Attempt] = []
    for event in job.log:
        if event.type in VOIDS:
            attempts.append(Attempt(event))
        elif event.type == "content" and attempts:
            fields = event.fields
            if not fields.get("choice"):
                attempts[-1].pieces.append(event)
                attempts[-1].texts.append(fields["content"])
    free = 0
    for attempt in attempts:
        text = attempt.text
        whole = job.hash["status"] == "done" and attempt is attempts[-1]
        if not text and not whole:
            continue
        for place in range(free, len(calls)):
            call = calls[place]
            if (call.text == text and call.state == "finished") if whole else call.text.startswith(text):
                attempt.call, free = call, place + 1 if in_order else 0
                break
    return attempts


def _not_the_models(history: History, job: Job, calls: Sequence[Call], attempts: list[Attempt]) -> Violation | None:
    """Finds the first attempt whose text no call of its own sent."""
    for place, attempt in enumerate(attempts):
        last = attempt is attempts[-1] and job.hash["status"] == "done"
        # Pieces without text replace the numbers that Redis lost before a claim was restored.
        if attempt.call is None and (attempt.text or last):
            return _foreign_text(history, job, attempts[: place + 1], calls)
    return None


def _foreign_text(history: History, job: Job, attempts: list[Attempt], calls: Sequence[Call]) -> Violation:
    """Finds the place where the text of the last of these attempts departs from its call, and classifies it."""
    attempt, before = attempts[-1], [earlier.call for earlier in attempts[:-1] if earlier.call is not None]
    free = calls[calls.index(before[-1]) + 1 :] if before else calls
    text = attempt.text
    own = max(free, key=lambda call: _alike(call.text, text), default=None)
    shared = 0 if own is None else _alike(own.text, text)
    lines = [] if own is None else _sent(own)
    # The first piece that its call did not send; if the call sent all and more, the attempt's end.
    ends = accumulate(map(len, attempt.texts))
    odd = next((event for event, end in zip(attempt.pieces, ends, strict=True) if end > shared), None)
    if odd is None:
        end = job.ends[0]
        says = f"attempt {attempt.begin.fields['attempt']} is done, but no call sent its text whole"
        return Violation(Rule.NOT_SENT, job.id, says, (*lines, job.line(attempt.begin.place, end.place)))
    piece = odd.fields["content"]
    shown = job.line(attempt.begin.place, odd.place)
    for call in before:
        if piece in call.text:
            says = f"event {odd.id} is of an attempt before {attempt.begin.type} {attempt.begin.fields['attempt']}"
            return Violation(Rule.ZOMBIE, job.id, says, (*_sent(call), shown))
    for call in history.calls.values():
        if call is not own and piece in call.text:
            says = f"event {odd.id} has the text of another call"
            return Violation(Rule.OTHER_CALL, job.id, says, (*lines, *_sent(call), shown))
    return Violation(Rule.NOT_SENT, job.id, f"event {odd.id} has a text that no call sent", (*lines, shown))


def _not_the_end(job: Job, attempts: Sequence[Attempt]) -> Violation | None:
    """The text since the last `started` or `restarted` is the text of the end."""
    end = job.ends[0]
    if end.fields.get("content", "") == (attempts[-1].text if attempts else ""):
        return None
    pieces = attempts[-1].pieces if attempts else []
    places = sorted({event.place for event in pieces} | {end.place})
    says = f"the content of event {end.id} is not the text before it"
    return Violation(Rule.CONTENT, job.id, says, (job.line(*places),))


def _sent(call: Call) -> list[Line]:
    return [call.request, *([] if call.closed is None else [call.closed])]


def _alike(one: str, other: str) -> int:
    """Returns the length of the common start of both texts."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
