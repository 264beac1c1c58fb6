"""Async tests without a plugin: each runs in its own event loop.

PYTHONASYNCIODEBUG=1 turns on debug mode, which doubles the CPU. The plugin of anyio costs the same CPU and runs the
fixtures too. It cancels pending tasks silently, and a fixture that looks for them cannot tell them from the plugin's
own tasks.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.support.connections import closing_connections

_OWN = ("_accept_connection", "async_generator_athrow")

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


async def run_test(test: AsyncTest, arguments: dict[str, Any], resources: AsyncExitStack | None) -> None:
    """Runs one test, closes its resources in the same loop, and fails it when it leaves tasks pending."""
    async with resources or AsyncExitStack(), closing_connections():
        await test(**arguments)
    await asyncio.sleep(0)  # a task cancelled in the test's last step ends in this turn
    left = asyncio.all_tasks() - {asyncio.current_task()}
    # Asyncio's own, which end by themselves. A client may connect while a server closes: a task then reports it to the
    # server, which refuses it. A client's library may drop a generator: a task then closes it.
    if own := {task for task in left if any(name in repr(task.get_coro()) for name in _OWN)}:
        left -= (await asyncio.wait(own, timeout=60))[0]
    if left:
        lines = "\n".join(f"  {task!r}" for task in left)
        pytest.fail(f"the test left {len(left)} task(s) pending:\n{lines}", pytrace=False)


def as_sync(test: AsyncTest, resources: AsyncExitStack | None = None) -> Callable[..., None]:
    """Returns `test` as a plain function that runs it in a new loop."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        with asyncio.Runner() as runner:
            runner.run(run_test(test, arguments, resources))

    return run


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """pytest's hook: runs `async def` tests, including those under hypothesis's `@given`."""
    test = pyfuncitem.obj
    resources = pyfuncitem.funcargs.get("resources")
    assert resources is None or isinstance(resources, AsyncExitStack)
    inner = getattr(getattr(test, "hypothesis", None), "inner_test", None)
    if inner is not None and inspect.iscoroutinefunction(inner):
        test.hypothesis.inner_test = as_sync(inner)
        return None
    if not inspect.iscoroutinefunction(test):
        return None
    names = inspect.signature(test).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in names}
    as_sync(test, resources)(**arguments)
    return True
