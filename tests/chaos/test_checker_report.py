"""A violation is shown by the lines that matter, in the order of time, and by no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import plants
from tests.chaos.checker import check
from tests.chaos.checker.report import in_time
from tests.chaos.clean import PIECES, clean
from tests.chaos.made import START, Made
from tests.chaos.plants import Plant


def shown(made: Made, directory: Path) -> list[str]:
    """The one violation's lines: the time since the start, and what tells the line apart."""
    [violation] = check(made.write(directory)).violations
    lines = []
    for line in in_time(violation.lines):
        when = "end" if line.t is None else f"{line.t - START:+.3f}"
        entries = "+".join(entry_id for entry_id, _ in line.record.get("entries", ()))
        name = line.record.get("kind") or (f"entries {entries}" if entries else "hash")
        number = f" {line.record['id']}" if name == "event" else ""
        lines.append(f"{when} {name}{number}")
    return lines


SHORTEST: list[tuple[Plant, list[str]]] = [
    # What was read before, what came instead, and what the log has from the one to the other.
    (plants.lost_for_a_client, ["+0.140 event 4", "+0.160 event 6", "end entries 5-0+6-0"]),
    (
        plants.lost_between_connections,
        [
            "+2.020 event 2",
            "+2.500 open",
        ],
    ),
    (plants.a_swap, ["+0.140 event 4", "+0.150 event 5", "+0.160 event 6", "end entries 5-0+6-0"]),
    (plants.a_repeat, ["+0.150 event 5", "+0.150 event 5"]),
    (plants.changed_bytes, ["+0.150 event 5", "end entries 5-0"]),
    (plants.wrong_merged_text, ["+2.020 event 2", "+2.030 event 10", "end entries 3-0+10-0"]),
    (plants.a_second_end_for_a_client, ["+0.210 event 11", "+0.210 event 12"]),
    (plants.no_end_for_a_client, ["+0.200 event 10", "+0.500 close"]),
    (plants.gave_up, ["+0.100 client", "+0.100 open", "+0.210 event 11", "+0.500 close", "+0.600 client_end"]),
    (plants.lost_in_the_log, ["+20.000 submit", "end entries 4-0+6-0"]),
    (plants.a_second_end_in_the_log, ["+20.000 submit", f"end entries {PIECES + 3}-0+{PIECES + 4}-0"]),
    (plants.zombie, ["+100.100 request", "+101.000 closed", "end entries 5-0+7-0"]),
    (plants.outlived_its_job, ["+0.200 request", "+2.200 closed", "end hash"]),
    (plants.outlived_its_attempt, ["+100.100 request", "+101.100 request", "+102.300 closed"]),
    (plants.forgotten_cancel, ["+20.500 cancel", "end hash"]),
    (plants.cancelled_by_nobody, ["end hash", "end entries 8-0"]),
    (plants.lost_job, ["+20.000 submit"]),
    (plants.two_jobs_for_one_key, ["+0.000 submit", "+1.000 submit"]),
]


@pytest.mark.parametrize(("plant", "lines"), SHORTEST, ids=[plant.__name__ for plant, _ in SHORTEST])
def test_the_shortest_history_that_shows_it(plant: Plant, lines: list[str], tmp_path: Path) -> None:
    made = clean()
    plant(made)
    assert shown(made, tmp_path) == lines


def test_a_report_reads_from_the_seed_to_the_last_line(tmp_path: Path) -> None:
    made = clean()
    plants.a_repeat(made)
    text = str(check(made.write(tmp_path)))
    assert text.startswith("seed 7: 1 violation\n  submits: 23\n")
    data = r'"{\"type\":\"content\",\"content\":\"<j1.1.3>é\"}"'
    event = f'{{"kind": "event", "watch": "w0", "id": 5, "type": "content", "data": {data}}}'
    assert text.endswith(
        f"\nrepeat: job id-j1: watch w0: event 5 came again, after position 5\n"
        f"    clients.jsonl +0.150 s {event}\n    clients.jsonl +0.150 s {event}"
    )
