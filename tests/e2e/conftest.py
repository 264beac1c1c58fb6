"""One stack for most tests: two APIs, two workers, the demo model, Redis. It heals before each test.

Stacks end with the last test of the folder: an idle one wakes up some ten times a second.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.support.servers import free_port
from tests.support.stack import Stack


@pytest.fixture(scope="package")
def running_stack() -> Iterator[Stack]:
    with Stack(apis=2, workers=2) as stack:
        yield stack


@pytest.fixture
def stack(running_stack: Stack) -> Iterator[Stack]:
    """The healed stack, with an empty Redis."""
    yield from healed(running_stack)


@pytest.fixture(scope="package")
def running_durable() -> Iterator[Stack]:
    # The lease is this worker's alone, and tests pause Redis for longer than the time-out.
    with Stack(apis=1, workers=1, aof=True, settings={"READALONG_REDIS_TIMEOUT": "2"}) as stack:
        yield stack


@pytest.fixture
def durable(running_durable: Stack) -> Iterator[Stack]:
    """One API, one worker, and a Redis that keeps its data when it is killed."""
    yield from healed(running_durable)


@pytest.fixture(scope="package")
def running_routed() -> Iterator[Stack]:
    # Three missed heartbeats take less time than the Redis time-out: a request meanwhile gets a reply.
    hasty = {"READALONG_REDIS_TIMEOUT": "2", "READALONG_HUB_HEARTBEAT": "0.3", "READALONG_LEASE": "20"}
    with Stack(apis=1, workers=1, settings=hasty, routed=True) as stack:
        yield stack


@pytest.fixture
def routed(running_routed: Stack) -> Iterator[Stack]:
    """One API and one worker behind routes to Redis that tests cut, slow down and lose, one connection or all."""
    yield from healed(running_routed)


@pytest.fixture(scope="package")
def running_two_workers() -> Iterator[Stack]:
    settings = {"READALONG_LEASE": "3", "READALONG_REDIS_TIMEOUT": "1", "READALONG_HUB_HEARTBEAT": "0.2"}
    with Stack(apis=1, workers=2, aof=True, routed=True, settings=settings) as stack:
        yield stack


@pytest.fixture
def two_workers(running_two_workers: Stack) -> Iterator[Stack]:
    """One API, two workers on one route, and a Redis that keeps its data."""
    yield from healed(running_two_workers)


@pytest.fixture(scope="module")
def port() -> int:
    """The port at which a test serves its own model."""
    return free_port()


def healed(stack: Stack) -> Iterator[Stack]:
    """Yields a shared stack to one test: healed, with an empty Redis. Fails the test if a process wrote a traceback."""
    stack.heal()
    yield stack
    assert_no_traceback(stack)


def assert_no_traceback(stack: Stack) -> None:
    """Asserts that no process has written a traceback."""
    for process in stack.processes:
        if process.log.exists():
            assert "Traceback" not in process.news, f"{process.name} stumbled"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the output of the processes when a test fails."""
    report = yield
    if report.failed:
        for name, value in item.funcargs.items():
            if isinstance(value, Stack) and not name.startswith("running_"):
                report.sections.append((f"output of {name}'s processes", value.report()))
    return report
