"""The benchmark's own lock fits the others."""

from __future__ import annotations

from tests.support.distributions import normal, project
from tests.test_packaging import ROOT, locked

LOCK = "requirements-bench.lock"


def test_it_covers_the_benchmarks_group_and_nothing_else_does() -> None:
    """The packages that `make bench` installs besides; `make test` needs none of them."""
    wanted = {normal(entry) for entry in project()["dependency-groups"]["bench"]}
    assert wanted <= locked(LOCK).keys()
    assert not wanted & locked("requirements.lock").keys()


def test_it_changes_no_version_of_what_is_installed_already() -> None:
    """Both go into one environment."""
    ours, others = locked(LOCK), locked("requirements.lock")
    assert {name: ours[name] for name in ours.keys() & others.keys()} == {
        name: others[name] for name in ours.keys() & others.keys()
    }


def test_it_has_a_hash_for_every_pin_and_no_address() -> None:
    """It installs from the registry or mirror of the machine's configuration."""
    text = (ROOT / LOCK).read_text("utf-8")
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(pins) > 1
    assert all(line.endswith("\\") for line in pins)
    assert text.count("--hash=sha256:") >= len(pins)
