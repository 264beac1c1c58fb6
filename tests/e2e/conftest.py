"""One stack for most tests: two APIs, two workers, the demo model, Redis. What a test breaks is mended for the next."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.support.stack import Stack


@pytest.fixture(scope="session")
def running_stack() -> Iterator[Stack]:
    with Stack(apis=2, workers=2) as stack:
        yield stack


@pytest.fixture
def stack(running_stack: Stack) -> Iterator[Stack]:
    """The stack, whole, with an empty Redis."""
    running_stack.heal()
    yield running_stack
    assert_no_traceback(running_stack)


@pytest.fixture(scope="session")
def running_keeper() -> Iterator[Stack]:
    with Stack(apis=1, workers=1, aof=True) as stack:
        yield stack


@pytest.fixture
def keeper(running_keeper: Stack) -> Iterator[Stack]:
    """One API, one worker, and a Redis that keeps what it was told when it is killed: for the tests that do."""
    running_keeper.heal()
    yield running_keeper
    assert_no_traceback(running_keeper)


@pytest.fixture(scope="session")
def running_routed() -> Iterator[Stack]:
    hasty = {"READALONG_REDIS_TIMEOUT": "0.5", "READALONG_HUB_HEARTBEAT": "0.1", "READALONG_LEASE": "10"}
    with Stack(apis=1, workers=1, settings=hasty, routed=True) as stack:
        yield stack


@pytest.fixture
def routed(running_routed: Stack) -> Iterator[Stack]:
    """One API and one worker whose ways to Redis can be cut, slowed and lost, one connection or all."""
    running_routed.heal()
    yield running_routed
    assert_no_traceback(running_routed)


@pytest.fixture(scope="session")
def running_pair() -> Iterator[Stack]:
    settings = {"READALONG_REDIS_TIMEOUT": "0.5", "READALONG_HUB_HEARTBEAT": "0.2"}
    with Stack(apis=1, workers=2, aof=True, routed=True, settings=settings) as stack:
        yield stack


@pytest.fixture
def pair(running_pair: Stack) -> Iterator[Stack]:
    """One API, two workers on one route, and a Redis that keeps what it was told."""
    running_pair.heal()
    yield running_pair
    assert_no_traceback(running_pair)


def assert_no_traceback(stack: Stack) -> None:
    """Whatever a test did to them, no process may have stumbled over it."""
    for process in stack.processes:
        if process.log.exists():
            assert "Traceback" not in process.news, f"{process.name} stumbled"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows what the processes wrote when a test fails."""
    report = yield
    if report.failed:
        for name, value in item.funcargs.items():
            if isinstance(value, Stack) and not name.startswith("running_"):
                report.sections.append((f"output of {name}'s processes", value.report()))
    return report
