"""With any texts and any reading, a clean history is clean, and one with a single changed event is not."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.chaos.checker import Rule, check
from tests.chaos.clean_history import QUEUED, clean_history, end
from tests.chaos.history_builder import HistoryBuilder, Said, begun, dumped, said

#: The rules that may catch a change of one client event.
OF_CLIENTS = {Rule.GAP, Rule.REPEAT, Rule.ORDER, Rule.BYTES, Rule.MERGED, Rule.MISSING_END, Rule.SECOND_END}


def events_with_a_log(builder: HistoryBuilder) -> list[int]:
    """Returns the indexes of all client events, except those of erased jobs, which have no log to compare with."""
    logs = {line["job"] for line in builder.logs}
    known = {line["watch"] for line in builder.clients if line["kind"] == "open" and line["job"] in logs}
    return [place for place, line in enumerate(builder.clients) if line["kind"] == "event" and line["watch"] in known]


EVENTS = events_with_a_log(clean_history())
CHANGES = ["drop", "repeat", "swap", "data", "type", "earlier", "later"]

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=30)


def rules(builder: HistoryBuilder) -> list[Rule]:
    with TemporaryDirectory() as directory:
        return [violation.rule for violation in check(builder.write(Path(directory))).violations]


def next_event(builder: HistoryBuilder, place: int) -> int | None:
    """Returns the index of the same watch's next event."""
    places = builder.seen(builder.clients[place]["watch"])
    return next((other for other in places if other > place), None)


def is_last_event_of_a_client_that_left(builder: HistoryBuilder, place: int) -> bool:
    """Such an event cannot be checked: its client left, and no later line shows its position."""
    watch = builder.line(kind="open", watch=builder.clients[place]["watch"])
    left = builder.line(kind="client_end", client=watch["client"])["how"] == "left"
    return left and next_event(builder, place) is None


def changed(data: str) -> str:
    fields = json.loads(data)
    fields["content"] = fields.get("content", "") + "x"
    return dumped(fields)


@settings(deadline=None)
@given(
    place=st.sampled_from(EVENTS), how=st.sampled_from(["drop", "repeat", "swap", "data", "type", "earlier", "later"])
)
def test_any_change_of_one_event_that_a_client_read_is_caught(place: int, how: str) -> None:
    builder = clean_history()
    line = builder.clients[place]
    match how:
        case "drop":
            assume(not is_last_event_of_a_client_that_left(builder, place))
            del builder.clients[place]
        case "repeat":
            builder.clients.insert(place, dict(line))
        case "swap":
            other = next_event(builder, place)
            assume(other is not None)
            assert other is not None
            builder.clients[place], builder.clients[other] = builder.clients[other], line
        case "data":
            line["data"] = changed(line["data"])
        case "type":
            line["type"] = "refusal"
        case "earlier" | "later":
            line["id"] += 1 if how == "later" else -1
    caught = rules(builder)
    assert len(caught) == 1
    assert caught[0] in OF_CLIENTS


@settings(deadline=None)
@given(
    texts=TEXTS,
    lost=TEXTS,
    compacted=st.booleans(),
    stops=st.lists(st.integers(1, 30), max_size=4, unique=True),
    kind=st.sampled_from(["done", "cancelled"]),
)
def test_a_clean_history_is_clean_whatever_was_said(
    texts: list[str], lost: list[str], compacted: bool, stops: list[int], kind: str
) -> None:
    """Two attempts of any texts, empty ones too; read as they came and merged, in parts of any length."""
    restarted = begun("restarted", 2, 102, reason="worker_lost")
    log: list[Said] = [QUEUED, begun("started", 1, 101), *said(lost), restarted, *said(texts), end(kind, texts)]
    builder = HistoryBuilder()
    builder.submit("z1", 0.0)
    builder.cancel("z1", 2.9)
    builder.call("z1.1", 0.1, 1.0, ["1: ", *lost], "gone")
    builder.fault("worker_kill", 1.0, 1.1, pid=101)
    log[2:2] = said(["1: "])
    at = log.index(restarted) + 1
    log[at:at] = said(["2: "])
    log[-1] = end(kind, ["2: ", *texts])
    builder.call("z1.2", 2.0, 2.9, ["2: ", *texts])
    builder.job("z1", log, 0.0, 3.0, compacted=compacted)
    cuts = sorted(stop for stop in stops if stop < len(log))
    for merged in (False, True):
        builder.client("z1", log, 1.0, *cuts, merged=merged)
        builder.client("z1", log, 5.0, *cuts, merged=merged)
    assert rules(builder) == []
