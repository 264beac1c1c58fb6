"""The lines of the table: what was wanted, what was found, whether it held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

#: As the README calls them: what "a handful" of reads or events is, and what counts as no growth in a noisy machine.
HANDFUL: Final = 10
NO_GROWTH: Final = 1.2


@dataclass(frozen=True)
class Row:
    """One line. `held` is None where nothing was wanted, or what it is measured against is not here.

    `marks` are the figures that another run can be compared with: ratios within the run, and counts. Less is better,
    but for those in `more`.
    """

    key: str
    what: str
    wanted: str
    ours: str
    others: str = ""
    ratio: str = ""
    held: bool | None = None
    marks: dict[str, float] = field(default_factory=dict)
    more: bool = False


def rows(found: dict[str, Any]) -> list[Row]:
    """All lines."""
    return [*_fan_out(found["fanout"]), *_streams(found["streams"]), *_starts(found["starts"]), *_rest(found)]


def _fan_out(fanout: dict[str, Any]) -> list[Row]:
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
            _pair(delay["readalong"]),
            _others(delay, _pair),
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
    # Every publisher's own command, one an event, is no watcher's.
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


_NAIVE: Final = "subscription a client"


def _streams(streams: dict[str, Any]) -> list[Row]:
    found = []
    for place, (count, ways) in enumerate(streams.items()):
        ours, direct = ways["readalong"], ways["direct"]
        load = f"{count} streams" if int(count) > 1 else "1 stream"
        worker, total, other = ours["cpu_us"]["worker"], ours["cpu_us_total"], direct["cpu_us_total"]
        delay, late = ours["delay_ms"], direct["delay_ms"]
        main = place == 0
        parts = " + ".join(number(ours["cpu_us"][name]) for name in ("worker", "api", "valkey"))
        busy = f", at {direct['busy']['direct']:.0%} of a core"
        found += [
            Row(
                f"worker_cpu_{count}",
                f"worker CPU a token, {load} of 50 a second, µs",
                "≤ ¼ x direct" if main else "",
                number(worker),
                f"direct {number(other)}{busy}",
                number(worker / other),
                worker <= other / 4 if main else None,
                {"to direct": worker / other},
            ),
            Row(
                f"all_cpu_{count}",
                f"worker + API + Valkey, {load}, µs a token",
                "≤ direct" if main else "",
                f"{parts} = {number(total)}",
                f"direct {number(other)}",
                number(total / other),
                total <= other if main else None,
                {"to direct": total / other},
            ),
            Row(
                f"added_delay_{count}",
                f"model to client, {load}, p50 / p99 ms",
                "≤ 1.5 / ≤ direct's p99 + 5" if main else "",
                _pair(delay),
                f"direct {_pair(late)}",
                f"{number(delay['p50'] / late['p50'])} / {number(delay['p99'] / late['p99'])}",
                delay["p50"] <= 1.5 and delay["p99"] <= late["p99"] + 5 if main else None,
                {f"{part} to direct": delay[part] / late[part] for part in ("p50", "p99")},
            ),
        ]
    return found


def _starts(starts: dict[str, Any]) -> list[Row]:
    idle, loaded = starts["idle"]["first_token_ms"], starts["loaded"]["first_token_ms"]
    stock = starts["stock_arq_ms"]

    def row(key: str, how: str, wanted: str, ours: dict[str, float], *, held: bool) -> Row:
        return Row(
            key,
            f"submit to first token, less the model's own, {how}, p50 / p99 ms",
            wanted,
            _pair(ours),
            f"stock arq to its start {_pair(stock)}",
            f"{number(ours['p50'] / stock['p50'])} / {number(ours['p99'] / stock['p99'])}",
            held,
            {f"{part} to stock arq": ours[part] / stock[part] for part in ("p50", "p99")},
        )

    return [
        row("first_token", "idle", "≤ 5 / ≤ 20", idle, held=idle["p50"] <= 5 and idle["p99"] <= 20),
        row("first_token_loaded", "beside the streams", "p99 ≤ 60", loaded, held=loaded["p99"] <= 60),
    ]


def _rest(found: dict[str, Any]) -> list[Row]:
    paced, fast = (found["commands"][name]["per_token"] for name in ("paced", "fast"))
    late, weight = found["late"], found["weight"]
    return [
        Row(
            "commands",
            "Redis commands a token, paced / fast model",
            "≤ 1 / < 1",
            f"{number(paced)} / {number(fast)}",
            held=paced <= 1 and fast < 1,
            marks={"paced": paced, "fast": fast},
        ),
        Row(
            "late_join",
            f"late join to a finished job of {late['tokens']} tokens, p50 ms (again), events",
            "≤ 10, one or few",
            f"{number(late['cold_ms']['p50'])} ({number(late['warm_ms']['p50'])}), {late['events']}",
            held=late["cold_ms"]["p50"] <= 10 and late["events"] <= HANDFUL,
            marks={"events": late["events"]},
        ),
        *(_return(name, one) for name, one in found["return"].items()),
        Row(
            "weight",
            f"Redis memory of a finished job of {weight['tokens']} tokens, over its text",
            "≤ 3",
            number(weight["ratio"]),
            held=weight["ratio"] <= 3,
            marks={"over the text": weight["ratio"]},
        ),
        *_flat(found),
    ]


def _return(name: str, one: dict[str, Any]) -> Row:
    return Row(
        f"return_{name}",
        f"{one['watchers']} watchers come back at once to a {name} job of {one['events']} events, s, reads of the log",
        "≤ 2, a handful",
        f"{number(one['seconds'])}, {one['log_reads']}",
        held=one["seconds"] <= 2 and one["log_reads"] <= HANDFUL,
        marks={"reads": one["log_reads"]},
    )


def _flat(found: dict[str, Any]) -> list[Row]:
    flat = found["flat"]
    before, after = flat["without"], flat["with"]
    first = next(iter(found["fanout"]["readalong"]["paced"].values()))
    beside = f"beside {flat['finished']:,} finished jobs and {flat['elsewhere']:,} elsewhere, over without"
    cases = [
        ("cpu_delivery", "CPU a delivery", first["cpu_us"]["server"], after["fanout"]["cpu_us"]["server"]),
        ("worker_cpu", "worker CPU a token", *(at["streams"]["cpu_us"]["worker"] for at in (before, after))),
        ("all_cpu", "worker + API + Valkey", *(at["streams"]["cpu_us_total"] for at in (before, after))),
        (
            "first_token",
            "submit to first token, p50",
            *(at["starts"]["first_token_ms"]["p50"] for at in (before, after)),
        ),
    ]
    return [
        Row(
            f"flat_{key}",
            f"{what}, {beside}",
            f"no growth (≤ {NO_GROWTH})",
            number(now),
            f"without {number(then)}",
            number(now / then),
            now / then <= NO_GROWTH,
            {"growth": now / then},
        )
        for key, what, then, now in cases
    ]


def number(value: float) -> str:
    """Three digits, and no exponent."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) < 0.01 else f"{value:.3g}"


def millions(value: float) -> str:
    return f"{number(value / 1e6)} million"


def _others(values: dict[str, Any], show: Any = number) -> str:
    return ", ".join(f"{name} {show(value)}" for name, value in values.items() if name != "readalong")


def _ratio(values: dict[str, float]) -> str:
    return number(values["readalong"] / values["nchan"]) if "nchan" in values else ""


def _marks(values: dict[str, float]) -> dict[str, float]:
    return {
        f"to {name}": values["readalong"] / value
        for name, value in values.items()
        if name in ("nchan", "resumable-stream", _NAIVE) and value
    }


def _within(values: dict[str, float], limits: dict[str, float]) -> bool | None:
    there = {name: limit for name, limit in limits.items() if name in values}
    return all(values["readalong"] <= limit * values[name] for name, limit in there.items()) if there else None


def _pair(values: dict[str, float]) -> str:
    return f"{number(values['p50'])} / {number(values['p99'])}"


def _pair_ratio(values: dict[str, dict[str, float]]) -> str:
    if "nchan" not in values:
        return ""
    return " / ".join(number(values["readalong"][part] / values["nchan"][part]) for part in ("p50", "p99"))
