"""The checker finds nothing in a clean history, and each planted fault by its own rule."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.chaos.checker import BadHistory, Rule, Violation, __main__, check
from tests.chaos.clean_history import clean_history
from tests.chaos.history_builder import START, HistoryBuilder
from tests.chaos.planted_faults import PLANTED_FAULTS, PlantedFault, left_in_the_queue
from tests.chaos.planted_hostile_faults import PLANTED_HOSTILE_FAULTS

ALL = [*PLANTED_FAULTS, *PLANTED_HOSTILE_FAULTS]


def found(builder: HistoryBuilder, directory: Path) -> list[Violation]:
    return check(builder.write(directory)).violations


def test_a_clean_history_has_no_violation(tmp_path: Path) -> None:
    """Jobs done, failed and cancelled, attempts, lost replies, compacted logs, clients of all kinds."""
    report = check(clean_history().write(tmp_path))
    assert not report.violations, str(report)
    assert report.counts["outcomes"] == {"done": 7, "failed": 5, "cancelled": 4}
    assert report.counts["faults"]["worker_kill"] == 4
    assert "seed 7: no violation" in str(report)


@pytest.mark.parametrize(("planted", "rule"), ALL, ids=[planted.__name__ for planted, _ in ALL])
def test_a_planted_fault_is_caught_by_its_own_rule_and_no_other(
    planted: PlantedFault, rule: Rule, tmp_path: Path
) -> None:
    builder = clean_history()
    planted(builder)
    assert [violation.rule for violation in found(builder, tmp_path)] == [rule]


def test_every_rule_has_a_planted_fault() -> None:
    """A rule that no fault breaks could never fail."""
    assert {rule for _, rule in ALL} == set(Rule)


def test_files_that_do_not_fit_together_are_no_history(tmp_path: Path) -> None:
    """Silence about an unreadable history would pass for a clean run."""
    builder = clean_history()
    builder.clients.append({"t": START, "kind": "event", "watch": "w999", "id": 1, "type": "queued", "data": "{}"})
    with pytest.raises(BadHistory, match="w999"):
        found(builder, tmp_path)


def test_the_command_says_by_its_exit_code_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0: nothing; 1: a violation, printed with the seed; 2: no history."""
    monkeypatch.setattr(sys, "argv", ["checker", str(tmp_path)])
    assert __main__.main() == 2
    builder = clean_history()
    builder.write(tmp_path)
    assert __main__.main() == 0
    left_in_the_queue(builder)
    builder.write(tmp_path)
    assert __main__.main() == 1
    printed = capsys.readouterr().out
    assert "seed 7: 1 violation" in printed
    assert "leak: 1 left in the queue" in printed


def test_the_checker_imports_the_standard_library_and_itself_only() -> None:
    """A checker that shares code with its subject would share its faults."""
    modules = sorted((Path(__file__).parent / "checker").glob("*.py"))
    assert len(modules) > 5
    names = []
    for module in modules:
        for node in ast.walk(ast.parse(module.read_bytes())):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module.name} imports relatively"
                names.append(node.module or "")
    foreign = [name for name in names if name.partition(".")[0] not in sys.stdlib_module_names]
    assert not [name for name in foreign if not f"{name}.".startswith("tests.chaos.checker.")]
