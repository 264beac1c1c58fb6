"""Async tests without a plugin: each runs in an event loop of its own; with PYTHONASYNCIODEBUG=1 in debug mode, which
costs twice the CPU.

The plugin that comes with anyio would run them for the same CPU, and our fixtures with them. But it cancels what a test
left pending without a word, and a fixture that looked for that could not tell it from the plugin's own tasks."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

AsyncTest = Callable[..., Coroutine[Any, Any, None]]


async def run_test(test: AsyncTest, arguments: dict[str, Any], resources: AsyncExitStack | None) -> None:
    """Run one test, close its resources in the same loop, and fail it when it leaves tasks pending."""
    async with resources or AsyncExitStack():
        await test(**arguments)
    await asyncio.sleep(0)  # a task that was cancelled as the test's last act ends in this turn
    left = asyncio.all_tasks() - {asyncio.current_task()}
    # A client that came just as a server closed: asyncio's own task tells the server, which turns it away.
    if accepting := {task for task in left if "_accept_connection" in repr(task.get_coro())}:
        left -= (await asyncio.wait(accepting, timeout=60))[0]
    if left:
        lines = "\n".join(f"  {task!r}" for task in left)
        pytest.fail(f"the test left {len(left)} task(s) pending:\n{lines}", pytrace=False)


def as_sync(test: AsyncTest, resources: AsyncExitStack | None = None) -> Callable[..., None]:
    """`test` as a plain function that runs it in a fresh loop."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        with asyncio.Runner() as runner:
            runner.run(run_test(test, arguments, resources))

    return run


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """pytest's hook: run `async def` tests, also those under hypothesis's `@given`, and no others."""
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
