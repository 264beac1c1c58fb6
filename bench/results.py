"""What a run found: one JSON object, `results/latest.json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bench.latency import Starts
from bench.plan import Plan
from bench.quantiles import summary
from bench.streams import Fanout, Flow, Streams

Results = dict[str, Any]


def collect(plan: Plan, starts: Starts, streams: Streams, fanout: Fanout) -> Results:
    """The figures. Delays are in milliseconds, CPU time in microseconds."""
    return {
        "plan": asdict(plan),
        "start_ms": {
            "readalong_client": summary(starts.client),
            "readalong_post": summary(starts.post),
            "readalong_redis": summary(starts.redis),
            "stock_arq": summary(starts.stock),
        },
        "token": {
            str(count): {
                "readalong": _flow(streams.readalong[count]),
                "direct": _flow(streams.direct[count]),
            }
            for count in plan.streams
        },
        "fanout": {"watchers": plan.watchers, **_flow(fanout.readalong)},
    }


def _flow(flow: Flow) -> dict[str, Any]:
    """`cpu_us_total` is that of the servers, without the client's."""
    servers = sum(seconds for name, seconds in flow.cpu.items() if name != "client")
    return {
        "delay_ms": summary(flow.delays),
        "tokens": flow.tokens,
        "deliveries": len(flow.delays),
        "cpu_us_per_token": {name: seconds / flow.tokens * 1e6 for name, seconds in flow.cpu.items()},
        "cpu_us_per_token_total": servers / flow.tokens * 1e6,
        "cpu_us_per_delivery": {name: seconds / len(flow.delays) * 1e6 for name, seconds in flow.cpu.items()},
    }
