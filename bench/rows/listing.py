"""The cost of a page of the list, with few jobs in Redis and with many."""

from __future__ import annotations

from typing import Any, Final

from bench.harness.cpu import CpuMeter
from bench.harness.errors import BenchError
from bench.harness.monitor import Monitor
from bench.harness.quantiles import summary
from bench.harness.stack import Stack
from bench.load.wire import Caller
from bench.plan import Plan

#: Jobs of a page.
_LIMIT: Final = 50
#: The queries, by their names in the results. The jobs are finished ones of the model `clock`.
_QUERIES: Final = {
    "all": "",
    "state": "&status=done",
    "model": "&model=clock",
    "both": "&status=done&model=clock",
    "time": "&created_before=9999-01-01T00:00:00Z",
}


async def pages(stack: Stack, plan: Plan) -> dict[str, Any]:
    """Returns for each kind of page its milliseconds, CPU microseconds of API and Valkey, and commands."""
    caller = await Caller.open(stack.ports["api"])
    found: dict[str, Any] = {}
    for name, query in _QUERIES.items():
        path = f"/v1/jobs?limit={_LIMIT}{query}"
        await caller.call("GET", path)
        meter = CpuMeter({process: stack.pids[process] for process in ("api", "valkey")})
        meter.start()
        answers = [await caller.call("GET", path) for _ in range(plan.pages)]
        cpu = meter.stop()
        with (monitor := Monitor(stack.redis.port)):
            page = await caller.call("GET", path)
        if not page.body["jobs"]:
            raise BenchError(f"{path} shows no job")
        found[name] = {
            "jobs": len(page.body["jobs"]),
            "ms": summary([(answer.came - answer.sent) / 1e6 for answer in answers]),
            "cpu_us": {process: seconds * 1e6 / plan.pages for process, seconds in cpu.items()},
            "commands": dict(monitor.counts),
        }
    await caller.close()
    return found
