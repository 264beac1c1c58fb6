"""The locks of further environments fit the others."""

from __future__ import annotations

import pytest

from tests.support.distributions import normal, project
from tests.test_packaging import ROOT, locked

LOCKS = {"bench": "requirements-bench.lock", "clients": "requirements-clients.lock", "docs": "requirements-docs.lock"}

each = pytest.mark.parametrize("group", LOCKS)


@each
def test_it_covers_its_group_and_nothing_else_does(group: str) -> None:
    """`make test` needs none of these packages."""
    wanted = {normal(entry) for entry in project()["dependency-groups"][group]}
    assert wanted <= locked(LOCKS[group]).keys()
    assert not wanted & locked("requirements.lock").keys()


@each
def test_it_changes_no_version_of_what_the_project_has(group: str) -> None:
    """The benchmark's go into the same environment; a client shares the SDK with our tests."""
    ours, others = locked(LOCKS[group]), locked("requirements.lock")
    assert {name: ours[name] for name in ours.keys() & others.keys()} == {
        name: others[name] for name in ours.keys() & others.keys()
    }


@each
def test_it_has_a_hash_for_every_pin_and_no_address(group: str) -> None:
    """It installs from the registry or mirror of the machine's configuration."""
    text = (ROOT / LOCKS[group]).read_text("utf-8")
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(pins) > 1
    assert all(line.endswith("\\") for line in pins)
    assert text.count("--hash=sha256:") >= len(pins)
