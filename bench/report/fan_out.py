"""The lines about many watchers of one job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from bench.report.row import HANDFUL, Row, millions, number, pair

_NAIVE: Final = "subscription a client"


def fan_out(fanout: dict[str, Any]) -> list[Row]:
    watchers = next(iter(fanout["readalong"]["paced"]))
    paced = {name: one["paced"][watchers] for name, one in fanout.items()}
    cpu = {name: one["cpu_us"]["server"] for name, one in paced.items()}
    speed = {name: one["flood"]["per_second"] for name, one in fanout.items()}
    delay = {name: one["delay_ms"] for name, one in paced.items()}
    memory = {name: one["idle"]["kb_per_watcher"] for name, one in fanout.items()}
    connections = fanout["readalong"]["idle"]["redis_connections"]
    lost = sum(one["lost"] for one in (fanout["readalong"]["flood"], paced["readalong"]))
    where = f"{watchers} watchers of a job"
    return [
        Row(
            "cpu_delivery",
            f"CPU a delivery, {where}, 20 events a second, µs",
            "≤ 1.2 x nchan, ≤ ⅓ x resumable-stream",
            number(cpu["readalong"]),
            _others(cpu),
            _ratio(cpu),
            _within(cpu, {"nchan": 1.2, "resumable-stream": 1 / 3}),
            _marks(cpu),
        ),
        Row(
            "full_speed",
            f"deliveries a second at full speed, {where}, none lost",
            "≥ 10 x nchan",
            millions(speed["readalong"]) + (f", {lost} lost" if lost else ""),
            _others(speed, millions),
            _ratio(speed),
            None if "nchan" not in speed else not lost and speed["readalong"] >= 10 * speed["nchan"],
            _marks(speed),
            more=True,
        ),
        Row(
            "fan_out_delay",
            f"append to client, {where}, p50 / p99 ms",
            "≤ nchan / ≤ 1.5 x nchan",
            pair(delay["readalong"]),
            _others(delay, pair),
            _pair_ratio(delay),
            None
            if "nchan" not in delay
            else delay["readalong"]["p50"] <= delay["nchan"]["p50"]
            and delay["readalong"]["p99"] <= 1.5 * delay["nchan"]["p99"],
            {f"{part} to nchan": delay["readalong"][part] / delay["nchan"][part] for part in ("p50", "p99")}
            if "nchan" in delay
            else {},
        ),
        Row(
            "watcher_memory",
            "memory an idle watcher, KB",
            "≤ 12, no Redis connection of its own",
            f"{number(memory['readalong'])}, {connections} connections",
            _others(memory),
            _ratio(memory),
            memory["readalong"] <= 12 and connections < HANDFUL,
            {"KB": memory["readalong"]},
        ),
        _watcher_commands(fanout, int(watchers)),
    ]


def _watcher_commands(fanout: dict[str, Any], watchers: int) -> Row:
    # The publisher's own command, one for each event, is no watcher's.
    each = {name: max(0.0, sum(one["commands_per_event"].values()) - 1) for name, one in fanout.items()}
    joins = {name: sum(one["idle"]["redis_commands"].values()) / watchers for name, one in fanout.items()}
    shown = {name: f"{number(joins[name])} + {number(each[name] / watchers)}" for name in fanout}
    return Row(
        "watcher_commands",
        "Redis commands a watcher: to join + for each event",
        "none",
        shown["readalong"],
        ", ".join(f"{name} {text}" for name, text in shown.items() if name in ("resumable-stream", _NAIVE)),
        held=joins["readalong"] < 0.05 and each["readalong"] < 1,
    )


def _others(values: dict[str, Any], show: Callable[[Any], str] = number) -> str:
    return ", ".join(f"{name} {show(value)}" for name, value in values.items() if name != "readalong")


def _ratio(values: dict[str, float]) -> str:
    return number(values["readalong"] / values["nchan"]) if values.get("nchan") else ""


def _marks(values: dict[str, float]) -> dict[str, float]:
    return {
        f"to {name}": values["readalong"] / value
        for name, value in values.items()
        if name in ("nchan", "resumable-stream", _NAIVE) and value
    }


def _within(values: dict[str, float], limits: dict[str, float]) -> bool | None:
    there = {name: limit for name, limit in limits.items() if name in values}
    return all(values["readalong"] <= limit * values[name] for name, limit in there.items()) if there else None


def _pair_ratio(values: dict[str, dict[str, float]]) -> str:
    if "nchan" not in values:
        return ""
    return " / ".join(number(values["readalong"][part] / values["nchan"][part]) for part in ("p50", "p99"))
