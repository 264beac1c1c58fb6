"""Every command and program in README.md and docs/ is run by a test, which `tests/docs/blocks.py` names."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from readalong.core.settings import Settings
from tests.docs.blocks import BLOCKS, PAGES, PROGRAMS, ROOT, TESTS, Block, blocks_for, proofs_of
from tests.docs.test_security import _tests


@pytest.mark.parametrize("block", PROGRAMS, ids=[block.name for block in PROGRAMS])
def test_a_block_has_a_test_that_runs_it(block: Block) -> None:
    tests = proofs_of(block)
    assert tests, f"no entry in tests/docs/blocks.py for\n{block.text}"
    for test in tests:
        path, _, name = test.partition("::")
        assert name in _tests(ROOT / path), test


def test_every_fence_is_a_block() -> None:
    """One that is not understood would be run by nothing."""
    fences = [line for page in PAGES for line in page.read_text("utf-8").splitlines() if re.match(r" *[`~]{3}", line)]
    assert len(fences) == 2 * len(BLOCKS)
    assert len(PROGRAMS) > 50
    commands = re.compile(r"^(readalong|make|curl|pip|export|redis-cli|docker) ", re.MULTILINE)
    assert [block.name for block in BLOCKS if block not in PROGRAMS and commands.search(block.text)] == []


def test_every_entry_is_of_a_block() -> None:
    """An entry of a block that is gone, or that begins otherwise now, says nothing. The README may drop any."""
    used = {block.entry for block in PROGRAMS}
    assert [entry for entry in TESTS if entry not in used and entry[0] != "README.md"] == []


def test_a_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    spans = [span for page in PAGES for span in re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))]
    typed = [name for block in PROGRAMS for name in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)]
    named = {*spans, *typed}
    assert named >= {"demo", "test", "chaos"}
    assert named - targets == set()


def test_lines_of_settings_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_for("tests/docs/test_blocks.py::test_lines_of_settings_are_accepted")
    assert len(blocks) == 2
    for block in blocks:
        for line in block.text.splitlines():
            name, _, value = line.partition("  #")[0].strip().partition("=")
            assert name.removeprefix("READALONG_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value)
            Settings()


def test_azures_lines_make_a_function_of_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package of Azure is not installed here: its two names are those of its documentation."""
    identity = ModuleType("azure.identity")
    identity.__dict__.update(
        DefaultAzureCredential=lambda: "credential",
        get_bearer_token_provider=lambda credential, scope: lambda: f"{credential} for {scope}",
    )
    monkeypatch.setitem(sys.modules, "azure", ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", identity)
    (block,) = blocks_for("tests/docs/test_blocks.py::test_azures_lines_make_a_function_of_keys")
    names: dict[str, object] = {}
    exec(block.text, names)
    token = names["token"]
    assert callable(token)
    assert token() == "credential for https://cognitiveservices.azure.com/.default"
