"""A violation shows the lines that matter, in order of time, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import planted_faults
from tests.chaos.checker import check
from tests.chaos.checker.report import in_time
from tests.chaos.clean_history import PIECES, clean_history
from tests.chaos.history_builder import START, HistoryBuilder
from tests.chaos.planted_faults import PlantedFault


def shown(builder: HistoryBuilder, directory: Path) -> list[str]:
    """Returns the one violation's lines: the time since the start, and the fields that tell the line apart."""
    [violation] = check(builder.write(directory)).violations
    lines = []
    for line in in_time(violation.lines):
        when = "end" if line.t is None else f"{line.t - START:+.3f}"
        entries = "+".join(entry_id for entry_id, _ in line.record.get("entries", ()))
        name = line.record.get("kind") or (f"entries {entries}" if entries else "hash")
        number = f" {line.record['id']}" if name == "event" else ""
        lines.append(f"{when} {name}{number}")
    return lines


SHORTEST: list[tuple[PlantedFault, list[str]]] = [
    # The events before, the event instead, and the log's events in between.
    (planted_faults.lost_for_a_client, ["+0.140 event 4", "+0.160 event 6", "end entries 5-0+6-0"]),
    (
        planted_faults.lost_between_connections,
        [
            "+2.020 event 2",
            "+2.500 open",
        ],
    ),
    (planted_faults.a_swap, ["+0.140 event 4", "+0.150 event 5", "+0.160 event 6", "end entries 5-0+6-0"]),
    (planted_faults.a_repeat, ["+0.150 event 5", "+0.150 event 5"]),
    (planted_faults.changed_bytes, ["+0.150 event 5", "end entries 5-0"]),
    (planted_faults.wrong_merged_text, ["+2.020 event 2", "+2.030 event 10", "end entries 3-0+10-0"]),
    (planted_faults.a_second_end_for_a_client, ["+0.210 event 11", "+0.210 event 12"]),
    (planted_faults.no_end_for_a_client, ["+0.200 event 10", "+0.500 close"]),
    (planted_faults.gave_up, ["+0.100 client", "+0.100 open", "+0.210 event 11", "+0.500 close", "+0.600 client_end"]),
    (planted_faults.lost_in_the_log, ["+20.000 submit", "end entries 4-0+6-0"]),
    (planted_faults.a_second_end_in_the_log, ["+20.000 submit", f"end entries {PIECES + 3}-0+{PIECES + 4}-0"]),
    (planted_faults.zombie, ["+100.100 request", "+101.000 closed", "end entries 5-0+7-0"]),
    (planted_faults.outlived_its_job, ["+0.200 request", "+2.200 closed", "end hash"]),
    (planted_faults.outlived_its_attempt, ["+100.100 request", "+101.100 request", "+102.300 closed"]),
    (planted_faults.forgotten_cancel, ["+20.500 cancel", "end hash"]),
    (planted_faults.cancelled_without_a_cancel, ["end hash", "end entries 8-0"]),
    (planted_faults.lost_job, ["+20.000 submit"]),
    (planted_faults.two_jobs_for_one_key, ["+0.000 submit", "+1.000 submit"]),
]


@pytest.mark.parametrize(("planted", "lines"), SHORTEST, ids=[planted.__name__ for planted, _ in SHORTEST])
def test_the_shortest_history_that_shows_it(planted: PlantedFault, lines: list[str], tmp_path: Path) -> None:
    builder = clean_history()
    planted(builder)
    assert shown(builder, tmp_path) == lines


def test_a_report_reads_from_the_seed_to_the_last_line(tmp_path: Path) -> None:
    builder = clean_history()
    planted_faults.a_repeat(builder)
    text = str(check(builder.write(tmp_path)))
    assert text.startswith("seed 7: 1 violation\n  submits: 23\n")
    data = r'"{\"type\":\"content\",\"content\":\"<j1.1.3>é\"}"'
    event = f'{{"kind": "event", "watch": "w0", "id": 5, "type": "content", "data": {data}}}'
    assert text.endswith(
        f"\nrepeat: job id-j1: watch w0: event 5 came again, after position 5\n"
        f"    clients.jsonl +0.150 s {event}\n    clients.jsonl +0.150 s {event}"
    )
