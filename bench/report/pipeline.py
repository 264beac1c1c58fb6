"""The lines about the way of a token: from the submit through queue, model, log and relay."""

from __future__ import annotations

from typing import Any

from bench.report.row import HANDFUL, NO_GROWTH, Row, number, pair


def streams(streams: dict[str, Any]) -> list[Row]:
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
                pair(delay),
                f"direct {pair(late)}",
                f"{number(delay['p50'] / late['p50'])} / {number(delay['p99'] / late['p99'])}",
                delay["p50"] <= 1.5 and delay["p99"] <= late["p99"] + 5 if main else None,
                {f"{part} to direct": delay[part] / late[part] for part in ("p50", "p99")},
            ),
        ]
    return found


def starts(starts: dict[str, Any]) -> list[Row]:
    idle, loaded = starts["idle"]["first_token_ms"], starts["loaded"]["first_token_ms"]
    stock = starts["stock_arq_ms"]

    started, queued = starts["idle"]["started_ms"], starts["idle"]["redis_ms"]

    def row(key: str, what: str, wanted: str, ours: dict[str, float], *, held: bool | None = None) -> Row:
        return Row(
            key,
            f"submit to {what}, p50 / p99 ms",
            wanted,
            pair(ours),
            f"stock arq to its start {pair(stock)}",
            f"{number(ours['p50'] / stock['p50'])} / {number(ours['p99'] / stock['p99'])}",
            held,
            {f"{part} to stock arq": ours[part] / stock[part] for part in ("p50", "p99")},
        )

    return [
        row("started", "started, Redis' clock, idle", "≤ 5 / ≤ 20", queued, held=_within(queued)),
        row("started_seen", "started as a client sees it, idle", "", started),
        row("first_token", "first token, less the model's own, idle", "≤ 5 / ≤ 20", idle, held=_within(idle)),
        row(
            "first_token_loaded",
            "first token, less the model's own, beside the streams",
            "p99 ≤ 60",
            loaded,
            held=loaded["p99"] <= 60,
        ),
    ]


def _within(ours: dict[str, float]) -> bool:
    return ours["p50"] <= 5 and ours["p99"] <= 20


def rest(found: dict[str, Any]) -> list[Row]:
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
        *_listing(found),
    ]


def _listing(found: dict[str, Any]) -> list[Row]:
    listing = found.get("listing")
    if listing is None:  # a run without this measurement
        return []
    few, many = listing["few"], listing["many"]

    def cost(page: dict[str, Any]) -> float:
        return float(sum(page["cpu_us"].values()))

    worst = max(many, key=lambda name: cost(many[name]) / cost(few[name]))
    growth = cost(many[worst]) / cost(few[worst])
    commands = max(sum(page["commands"].values()) for page in many.values())
    return [
        Row(
            "listing",
            f"a page (all, state, model, both, time) of {found['flat']['finished']:,} jobs, p50 ms, commands",
            f"CPU as of few (≤ {NO_GROWTH})",
            f"{', '.join(number(page['ms']['p50']) for page in many.values())}, ≤ {commands}",
            f"of few {', '.join(number(page['ms']['p50']) for page in few.values())}",
            number(growth),
            growth <= NO_GROWTH,
            {"growth": growth},
        )
    ]


def _return(name: str, one: dict[str, Any]) -> Row:
    return Row(
        f"return_{name}",
        f"{one['watchers']} watchers come back at once to a {name} job of {one['events']} events, s, reads of the log",
        "≤ 2, a handful",
        f"{number(one['seconds'])}, {one['log_reads']}",
        held=one["seconds"] <= 2 and one["log_reads"] <= HANDFUL,
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
