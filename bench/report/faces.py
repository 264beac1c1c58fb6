"""The lines about the other protocols, each beside the native one."""

from __future__ import annotations

from typing import Any, Final

from bench.report.row import Row, number, pair

_NATIVE: Final = "native"
#: Times the native CPU a delivery, and milliseconds above the native first token.
_DEARER: Final = 1.15
_LATER: Final = 1.5


def faces(found: dict[str, Any]) -> list[Row]:
    """Returns nothing for a run without these measurements."""
    if "formats" not in found:
        return []
    return [_formats(found["formats"]), _first_token(found["faces"]["first_token"]), *_sdk(found["faces"]["sdk"])]


def _formats(formats: dict[str, Any]) -> Row:
    cpu = formats["cpu_us"]
    others = {name: cost / cpu[_NATIVE] for name, cost in cpu.items() if name != _NATIVE}
    return Row(
        "formats",
        f"CPU a delivery, {formats['watchers']} watchers of a job, in each format, over native",
        f"≤ {_DEARER} x native",
        ", ".join(f"{name} {number(cpu[name])}" for name in others),
        f"native {number(cpu[_NATIVE])}",
        ", ".join(number(ratio) for ratio in others.values()),
        all(ratio <= _DEARER for ratio in others.values()),
        {f"{name} to native": ratio for name, ratio in others.items()},
    )


def _first_token(times: dict[str, Any]) -> Row:
    native, chat = times["native"], times["chat"]
    return Row(
        "first_token_chat",
        "submit to first token through `/v1/chat/completions`, less the model's own, idle, p50 / p99 ms",
        f"≤ native + {_LATER}",
        pair(chat),
        f"native {pair(native)}",
        " / ".join(number(chat[part] / native[part]) for part in ("p50", "p99")),
        all(chat[part] <= native[part] + _LATER for part in ("p50", "p99")),
        {f"{part} to native": chat[part] / native[part] for part in ("p50", "p99")},
    )


def _sdk(sdk: dict[str, Any]) -> list[Row]:
    ours, straight = sdk["readalong"], sdk["straight"]
    parts = " + ".join(number(ours["cpu_us"][name]) for name in ("worker", "api", "valkey"))
    client, alone = ours["cpu_us"]["client"], straight["cpu_us"]["client"]
    added = {part: ours["delay_ms"][part] - straight["delay_ms"][part] for part in ("p50", "p99")}
    load = f"{sdk['streams']} streams of the openai package"
    return [
        Row(
            "sdk_cpu",
            f"worker + API + Valkey, {load}, µs a token",
            "",
            f"{parts} = {number(ours['cpu_us_total'])}",
            f"the package itself {number(client)}, straight from the model {number(alone)}",
            number(ours["cpu_us_total"] / alone),
            marks={"to the package": ours["cpu_us_total"] / alone},
        ),
        Row(
            "sdk_delay",
            f"added between the model and {load}, p50 / p99 ms",
            "",
            pair(added),
            f"through readalong {pair(ours['delay_ms'])}, straight from the model {pair(straight['delay_ms'])}",
        ),
    ]
