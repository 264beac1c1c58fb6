"""The table and the comparison match the results."""

from __future__ import annotations

import copy
import re
from typing import Any, Final

import orjson
import pytest

from bench import __main__ as bench
from bench.report import compare, table
from bench.report.row import number
from bench.report.rows import rows

FOUND: dict[str, Any] = orjson.loads(bench.LATEST.read_bytes())
#: Of a run that has these measurements.
_FLOW: Final = {
    "delay_ms": {"p50": 1.0, "p99": 2.0},
    "cpu_us": {"worker": 1.0, "api": 1.0, "valkey": 1.0, "client": 1.0},
    "cpu_us_total": 3.0,
}
FACES: dict[str, Any] = {
    "first_token": {"native": {"p50": 5.0, "p99": 20.0}, "chat": {"p50": 5.0, "p99": 20.0}},
    "sdk": {"streams": 10, "readalong": _FLOW, "straight": _FLOW},
}


@pytest.fixture
def found() -> dict[str, Any]:
    """The committed run; a test may change it."""
    return copy.deepcopy(FOUND)


def held(found: dict[str, Any], key: str) -> bool | None:
    return next(row.held for row in rows(found) if row.key == key)


def test_the_readme_shows_the_committed_run() -> None:
    """The table is never edited by hand, and a run is committed whole."""
    shown = table.README.read_text("utf-8").split(table.BEGIN)[1].split(table.END)[0]
    assert shown == table.markdown(FOUND)


def test_the_plots_of_the_readme_are_there() -> None:
    """Each is linked and committed."""
    linked = re.findall(r"\]\((results/[^)]+\.svg)\)", table.README.read_text("utf-8"))
    assert len(linked) == 3
    assert all((table.README.parent / path).read_text("utf-8").startswith("<?xml") for path in linked)


@pytest.mark.parametrize(
    ("key", "path", "good", "bad"),
    [
        ("cpu_delivery", "fanout readalong paced FIRST cpu_us server", 1.0, 1e6),
        ("full_speed", "fanout readalong flood per_second", 1e12, 1.0),
        ("full_speed", "fanout readalong flood lost", None, 1),
        ("fan_out_delay", "fanout readalong paced FIRST delay_ms p99", None, 1e6),
        ("watcher_memory", "fanout readalong idle kb_per_watcher", 12.0, 12.1),
        ("watcher_memory", "fanout readalong idle redis_connections", None, 1000),
        ("watcher_commands", "fanout readalong commands_per_event evalsha", 1.0, 1000.0),
        ("worker_cpu_50", "streams 50 readalong cpu_us worker", 1.0, 1e6),
        ("all_cpu_50", "streams 50 readalong cpu_us_total", 1.0, 1e6),
        ("added_delay_50", "streams 50 readalong delay_ms p50", None, 1.6),
        ("first_token", "starts idle first_token_ms p99", None, 20.1),
        ("first_token_loaded", "starts loaded first_token_ms p99", 60.0, 60.1),
        ("formats", "formats cpu_us Responses", 1.15, 1.16),
        ("first_token_chat", "faces first_token chat p99", 21.5, 21.6),
        ("commands", "commands paced per_token", None, 1.1),
        ("late_join", "late cold_ms p50", 10.0, 10.1),
        ("return_live", "return live seconds", None, 2.1),
        ("return_finished", "return finished log_reads", None, 1000),
        ("weight", "weight ratio", 3.0, 3.1),
        ("killed_worker", "deaths restarted_s max", 3.0, 3.1),
        ("flat_worker_cpu", "flat with streams cpu_us worker", 0.1, 1e6),
    ],
)
def test_a_row_is_held_up_to_its_limit(
    found: dict[str, Any], key: str, path: str, good: float | None, bad: float
) -> None:
    """Beyond the limit it is missed. `good` None: another figure decides too, so this one alone can only miss it."""
    found["fanout"].setdefault("nchan", copy.deepcopy(found["fanout"]["readalong"]))
    found.setdefault("deaths", {"restarted_s": {"n": 5, "p50": 2.0, "max": 2.1}})
    found["formats"] = {"watchers": 1000, "cpu_us": {"native": 1.0, "Responses": 1.0}}
    found["faces"] = copy.deepcopy(FACES)
    *way, last = path.split()
    place = found
    for name in way:
        place = place[next(iter(place)) if name == "FIRST" else name]
    if good is not None:
        place[last] = good
        assert held(found, key) is True
    place[last] = bad
    assert held(found, key) is False


def test_a_row_without_the_one_it_is_measured_against_is_neither_held_nor_missed(found: dict[str, Any]) -> None:
    """nchan and resumable-stream may be missing."""
    for name in ("nchan", "resumable-stream"):
        found["fanout"].pop(name, None)
    assert [held(found, key) for key in ("cpu_delivery", "full_speed", "fan_out_delay")] == [None] * 3


def test_what_was_left_out_is_named(found: dict[str, Any]) -> None:
    """The report names the reason too."""
    found["missing"] = {"nchan": "nginx is not installed"}
    assert "Left out: nchan (nginx is not installed)." in table.where(found)


def test_only_what_got_worse_is_said(found: dict[str, Any]) -> None:
    """A change within the tolerance is noise; an improvement is no complaint, in either direction."""
    assert compare.worse(FOUND, found) == []
    before = found["weight"]["ratio"]
    found["weight"]["ratio"] = before * 1.1
    assert not [line for line in compare.worse(FOUND, found) if "over the text" in line]
    found["weight"]["ratio"] = before * 2
    lines = [line for line in compare.worse(FOUND, found) if "over the text" in line]
    assert len(lines) == 1
    assert f"over the text {number(before)} -> {number(before * 2)}" in lines[0]
    assert not [line for line in compare.worse(found, FOUND) if "over the text" in line]


def test_of_what_should_be_more_less_is_worse(found: dict[str, Any]) -> None:
    """The row is deliveries a second."""
    found["fanout"]["readalong"]["flood"]["per_second"] /= 3
    assert any(line.startswith("deliveries a second") for line in compare.worse(FOUND, found))
    assert not [line for line in compare.worse(found, FOUND) if line.startswith("deliveries a second")]


def test_a_number_has_three_digits() -> None:
    """It has no exponent."""
    assert [number(value) for value in (0, 0.0012, 0.5, 12.345, 98765.4)] == ["0", "0.001", "0.5", "12.3", "98765"]
