"""The table of `readalong settings`."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from readalong.cli.reach import described
from readalong.core.sanitize import harmless
from readalong.core.settings import Settings


def as_json(settings: Settings) -> dict[str, Any]:
    """`settings`: a list of `name`, `value`, `default`, `description`; `model`: how it is reached."""
    rows = []
    for field, info in Settings.model_fields.items():
        value = settings.safe_redis_url if field == "redis_url" else getattr(settings, field)
        default = str(info.default) if field == "redis_url" else info.default
        name = f"READALONG_{field.upper()}"
        rows.append({"name": name, "value": value, "default": default, "description": info.description})
    return {"settings": rows, "model": described(os.environ)}


def as_table(settings: Settings) -> Group:
    """For a person: what differs from its default is bold."""
    known = as_json(settings)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("variable", no_wrap=True)
    shown.add_column("value", overflow="fold")
    shown.add_column("default", overflow="fold", style="dim")
    shown.add_column("what")
    for row in known["settings"]:
        value, default = _word(row["value"]), _word(row["default"])
        style = "bold green" if value != default else ""
        shown.add_row(row["name"], Text(value, style=style), Text(default), Text(row["description"]))
    model = Table(box=None, pad_edge=False, show_header=False)
    for name, value in known["model"].items():
        model.add_row(Text("the model is reached via" if name == "via" else name), Text(harmless(value)))
    return Group(shown, Text(), model)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else str(int(value))
    return harmless(str(value))
