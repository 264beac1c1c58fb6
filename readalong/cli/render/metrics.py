"""Times and rates as text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def seconds(value: object) -> str:
    """Returns `0.52 s`, `2 min 5 s`, `3 h 10 min` or `2 d 4 h`; `-` if `value` is not a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "-"
    if value < 1:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    for small, small_name, large_name, limit in ((60, "s", "min", 3600), (3600, "min", "h", 86_400)):
        if whole < limit:
            return f"{whole // small} {large_name} {whole % small // (small // 60)} {small_name}"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def short(value: object) -> str:
    """Returns `3.2ms`, `0.52s`, `59s`, `2m05s`, `3h10m` or `2d04h`, for tables; `-` if `value` is not a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "-"
    if 0 < value < 0.1:
        return f"{value * 1000:.1f}ms"
    if value < 10:
        return f"{value:.2f}s" if 0 < value < 1 else f"{value:.1f}s".replace(".0s", "s")
    whole = round(value)
    if whole < 60:
        return f"{whole}s"
    for size, large, small, limit in ((60, "m", "s", 3600), (3600, "h", "m", 86_400)):
        if whole < limit:
            return f"{whole // size}{large}{whole % size // (size // 60):02}{small}"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02}h"


def rate(value: object) -> str:
    """Returns `31.2`, or `-` if `value` is not a number."""
    return f"{value:.1f}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"


def moment(time: object) -> datetime | None:
    """Returns an RFC 3339 time; None if `time` is not one."""
    if not isinstance(time, str):
        return None
    try:
        then = datetime.fromisoformat(time)
    except ValueError:
        return None
    return None if then.tzinfo is None else then


def age(time: object, until: object = None) -> str:
    """Returns the time since an RFC 3339 time, or from there to another one; `-` if `time` is not one."""
    if (then := moment(time)) is None:
        return "-"
    return short(max(0.0, ((moment(until) or datetime.now(UTC)) - then).total_seconds()))


def size(value: object) -> str:
    """Returns `34 kB` or `1.2 GB`; `-` if `value` is not a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def count(value: object) -> str:
    """Returns `1,234`; `-` if `value` is not a number."""
    return f"{value:,.0f}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"


def summary(metrics: Mapping[str, Any], usage: Mapping[str, Any] | None) -> str:
    """Returns `first token 0.52 s · 31.2 tokens/s · 5.1 s in all · 160 tokens`, without unknown parts."""
    parts = []
    if (first := metrics.get("time_to_first_token")) is not None:
        parts.append(f"first token {seconds(first)}")
    if (speed := metrics.get("tokens_per_second")) is not None:
        parts.append(f"{rate(speed)} tokens/s")
    if (total := metrics.get("total_seconds")) is not None:
        parts.append(f"{seconds(total)} in all")
    if usage and (tokens := usage.get("completion_tokens")) is not None:
        parts.append(f"{tokens} tokens")
    return " · ".join(parts)
