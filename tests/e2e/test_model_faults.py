"""Each fault of the demo model, through the whole stack, gives a job its one right end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from readalong.testing import Behaviour, text_for, tokens_for
from tests.e2e.conftest import assert_no_traceback
from tests.e2e.jobs import chat, submit
from tests.support.client import Entry
from tests.support.history import assert_whole, kinds, text
from tests.support.stack import Stack

FAST = {"tokens_per_second": 0, "first_token_seconds": 0}
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
    }
    for name in ("look_up", "translate")
]


class Seen(NamedTuple):
    """The result of a job, and the state of the stream of each request to the model; None: there was no stream."""

    body: dict[str, Any]
    log: list[Entry]
    shown: dict[str, Any]
    states: list[str | None]


@dataclass(frozen=True)
class Fault:
    """A behaviour of the model, and the expected result."""

    behaviour: Behaviour
    status: str = "done"
    error: str | None = None
    retryable: bool = True
    #: Least number of tokens of the text; None: exactly the whole text.
    tokens: int | None = None
    calls: int = 1
    #: State of the last stream: the worker has closed it ("gone"), or the model has; None: there was no stream.
    state: str | None = "finished"
    demo: dict[str, Any] = field(default_factory=lambda: dict(FAST))
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.behaviour}-{self.error or self.status}-{self.calls}"


B = Behaviour
FAULTS = [
    Fault(B.SLOW_FIRST_TOKEN, demo={"tokens_per_second": 0}),
    Fault(B.STALL, "failed", "model_stalled", state="gone", tokens=12),
    Fault(B.CUT, "failed", "model_cut", state="broken", tokens=12),
    Fault(B.RESET, "failed", "model_cut", state="broken", tokens=0),  # a reset may overtake what was sent before it
    Fault(B.CLOSE_EARLY, "failed", "model_cut", state="broken", tokens=12),
    Fault(B.TOO_MANY, calls=2, demo={**FAST, "times": 1, "key": "429 once", "retry_after": 0.2}),
    Fault(B.TOO_MANY, "failed", "model_rate_limited", state=None, tokens=0, calls=2, demo={**FAST, "retry_after": 0}),
    Fault(
        B.TOO_MANY,
        "failed",
        "model_rate_limited",
        state=None,
        tokens=0,
        demo={**FAST, "retry_after": 30},
        more={"deadline": 20},  # the job fails at once: its deadline is before the retry
    ),
    Fault(B.SERVER_ERROR, calls=2, demo={**FAST, "times": 1, "key": "500 once"}),
    Fault(B.SERVER_ERROR, "failed", "model_error", state=None, tokens=0, calls=2),
    # Slow enough that text is left when the worker, on a busy machine, closes the stream.
    Fault(B.MALFORMED, "failed", "model_malformed", state="gone", tokens=12, demo={"tokens_per_second": 20}),
    Fault(B.ERROR, "failed", "model_error", state="broken", tokens=12),
    Fault(B.NOT_SSE, "failed", "model_malformed", state=None, retryable=False, tokens=0),
    Fault(B.HANG, "failed", "model_timeout", state="gone", tokens=0),
    Fault(B.FAST),
    Fault(B.AZURE),
    Fault(B.UNICODE),
    Fault(B.REASONING),
    Fault(B.REFUSAL),
    Fault(B.USAGE_NONE),
    Fault(B.LENGTH),
    Fault(B.SPLIT),
    Fault(B.CRLF),
    Fault(B.LOGPROBS),
    Fault(B.CHOICES, more={"n": 2}),
    Fault(B.NUMBERED),
    Fault(B.TOOLS, more={"tools": TOOLS}),
    Fault(B.NO_INDEX, more={"tools": TOOLS}),
    Fault(B.BAD_ARGUMENTS, more={"tools": TOOLS}),
    Fault(B.ENDLESS, "cancelled", state="gone", tokens=50, demo={"tokens_per_second": 500}),
    Fault(
        B.ENDLESS,
        "failed",
        "deadline_exceeded",
        state="gone",
        tokens=50,
        demo={"tokens_per_second": 500},
        more={"deadline": 15},
    ),
]


@pytest.fixture(scope="module")
def faulty() -> Iterator[Stack]:
    """Time-outs that the tests wait for once, and that no other fault comes near."""
    settings = {
        "READALONG_STALL_TIMEOUT": "10",
        "READALONG_FIRST_TOKEN_TIMEOUT": "15",
        "READALONG_LEASE": "20",
    }
    with Stack(settings=settings) as stack:
        yield stack
        assert_no_traceback(stack)
        assert "●" not in stack.workers[0].output, "arq's own mark of success, also for a job that failed"


@pytest.fixture(scope="module")
def outcomes(faulty: Stack) -> dict[str, Seen | BaseException]:
    """Runs all faults at the same time in one worker: none may disturb the others."""

    async def all_of_them() -> list[Seen | BaseException]:
        return await asyncio.gather(*(_outcome(faulty, fault) for fault in FAULTS), return_exceptions=True)

    return dict(zip((fault.name for fault in FAULTS), asyncio.run(all_of_them()), strict=True))


@pytest.fixture
def seen(outcomes: dict[str, Seen | BaseException], request: pytest.FixtureRequest) -> Seen:
    """The result of the fault that the test is about."""
    outcome = outcomes[request.param]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def _outcome(stack: Stack, fault: Fault) -> Seen:
    job = await submit(stack, chat(f"demo-{fault.behaviour}", demo=fault.demo, **fault.more))
    watching = asyncio.create_task(job.watcher(resumes=False).run())
    if fault.status == "cancelled":
        await job.says(0.2)
        await job.cancel()
    watcher = await watching
    shown = await job.ended()
    log = stack.log_of(job.id)
    assert_whole(log, watcher.history)
    await job.model_let_go()
    return Seen(job.body, log, shown, [made["state"] for made in stack.generations(job.question)])


def of(behaviour: Behaviour) -> pytest.MarkDecorator:
    """The test is about the first fault of this kind."""
    name = next(fault.name for fault in FAULTS if fault.behaviour is behaviour)
    return pytest.mark.parametrize("seen", [name], indirect=True)


def of_type(seen: Seen, kind: str) -> list[dict[str, Any]]:
    return [entry.fields for entry in seen.log if entry.event == kind]


def test_every_behaviour_of_the_demo_model_is_tried() -> None:
    assert {fault.behaviour for fault in FAULTS} == set(Behaviour)


@pytest.mark.parametrize(("seen", "fault"), [(fault.name, fault) for fault in FAULTS], indirect=["seen"])
def test_a_job_has_one_right_end_however_the_model_behaves(seen: Seen, fault: Fault) -> None:
    """Status, error code, text and number of calls are right, and no connection to the model stays open."""
    assert (seen.shown["status"], len(seen.states)) == (fault.status, fault.calls)
    assert seen.states[-1] == fault.state
    error = seen.shown["error"]
    assert (error and error["code"]) == fault.error
    assert error is None or error["retryable"] is fault.retryable
    assert error is None or error == seen.log[-1].fields["error"]
    if fault.behaviour is Behaviour.NUMBERED:
        # Each token begins with the number of the call, and the server has had calls before.
        assert re.sub(r"<\.\d+\.", "<.1.", text(seen.log)) == text_for(seen.body)
    elif fault.tokens is None:
        assert text(seen.log) == text_for(seen.body)
    else:
        said = "".join(tokens_for(seen.body)[: fault.tokens])
        assert text(seen.log).startswith(said)
        whole = text_for(seen.body)
        assert whole.startswith(text(seen.log)[: len(whole)])  # an endless text may be in its second round
    assert seen.shown["content"] == text(seen.log)
    assert seen.shown["metrics"] == seen.log[-1].fields["metrics"]


@of(B.TOOLS)
def test_parallel_tool_calls_come_in_fragments_and_whole(seen: Seen) -> None:
    """The fragments come in the model's order. The whole calls, their arguments parsed, are in the job too."""
    whole = of_type(seen, "tool_call")
    assert [(call["index"], call["name"]) for call in whole] == [(0, "look_up"), (1, "translate")]
    for call in whole:
        pieces = [piece for piece in of_type(seen, "tool_call_delta") if piece["index"] == call["index"]]
        assert len(pieces) > 2
        assert {(piece["id"], piece["name"]) for piece in pieces} == {(call["id"], call["name"])}
        assert json.loads("".join(piece["arguments"] for piece in pieces)) == call["arguments"] != {}
    order = [piece["index"] for piece in of_type(seen, "tool_call_delta")]
    assert order[:4] == [0, 1, 0, 1]
    assert seen.shown["tool_calls"] == whole
    assert seen.shown["finish_reason"] == "tool_calls"


@of(B.NO_INDEX)
def test_tool_calls_without_an_index_are_told_apart_by_their_ids(seen: Seen) -> None:
    whole = of_type(seen, "tool_call")
    assert [(call["index"], call["name"]) for call in whole] == [(0, "look_up"), (1, "translate")]
    assert all(call["arguments"] for call in whole)


@of(B.BAD_ARGUMENTS)
def test_arguments_that_are_no_json_are_an_event_that_says_so(seen: Seen) -> None:
    """The event has the raw text. The other call is complete."""
    broken, whole = of_type(seen, "tool_call")
    assert broken["arguments"] is None
    assert broken["arguments_error"]
    assert broken["arguments_text"].endswith('"unfinished: ')
    assert whole["arguments"]


@of(B.REASONING)
def test_reasoning_is_told_apart_from_the_text(seen: Seen) -> None:
    assert kinds(seen.log) == ["queued", "started", "reasoning", "content", "done"]


@of(B.REFUSAL)
def test_a_refusal_is_told_apart_from_the_text(seen: Seen) -> None:
    assert kinds(seen.log) == ["queued", "started", "refusal", "done"]
    assert "asked to refuse" in "".join(piece["content"] for piece in of_type(seen, "refusal"))


@of(B.CHOICES)
def test_a_second_choice_is_told_apart_from_the_first(seen: Seen) -> None:
    assert text(seen.log, choice=1) == text_for(seen.body, 1) != text_for(seen.body)


@of(B.LOGPROBS)
def test_log_probabilities_stay_with_their_tokens(seen: Seen) -> None:
    pieces = of_type(seen, "content")
    assert "".join(piece["logprobs"]["content"][0]["token"] for piece in pieces) == text_for(seen.body)


@of(B.AZURE)
def test_what_azure_adds_is_kept(seen: Seen) -> None:
    extra = {name for entry in seen.log for name in entry.fields.get("extra", {})}
    assert {"prompt_filter_results", "choices.0.content_filter_results"} <= extra


@of(B.USAGE_NONE)
def test_a_model_that_counts_nothing_leaves_its_own_counts_out(seen: Seen) -> None:
    assert seen.shown["usage"] is None
    assert seen.shown["metrics"]["chunk_count"] == len(tokens_for(seen.body))
    assert "completion_tokens" not in seen.shown["metrics"]


@of(B.LENGTH)
def test_a_cut_at_the_limit_is_the_finish_reason(seen: Seen) -> None:
    assert seen.shown["finish_reason"] == "length"


@of(B.HANG)
def test_a_model_that_never_begins_has_no_time_to_first_token(seen: Seen) -> None:
    assert seen.shown["metrics"]["time_to_first_token"] is None
    assert seen.shown["metrics"]["chunk_count"] == 0
