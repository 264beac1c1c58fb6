"""The table of `readalong settings`."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from readalong.cli.model_env import describe_model
from readalong.core.sanitize import harmless
from readalong.core.settings import Settings


def settings_json(settings: Settings) -> dict[str, Any]:
    """Returns `settings`, a list of `name`, `value`, `default` and `description`, and `model`, its variables."""
    rows = []
    for field, info in Settings.model_fields.items():
        value = settings.safe_redis_url if field == "redis_url" else getattr(settings, field)
        default = str(info.default) if field == "redis_url" else info.default
        name = f"READALONG_{field.upper()}"
        rows.append({"name": name, "value": value, "default": default, "description": info.description})
    return {"settings": rows, "model": describe_model(os.environ)}


def settings_table(settings: Settings) -> Group:
    """Returns the settings and the model's variables. A value that differs from its default is bold."""
    shown = settings_json(settings)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("default", overflow="fold", style="dim")
    table.add_column("meaning")
    for row in shown["settings"]:
        value, default = _text(row["value"]), _text(row["default"])
        style = "bold green" if value != default else ""
        table.add_row(row["name"], Text(value, style=style), Text(default), Text(row["description"]))
    model = Table(box=None, pad_edge=False, show_header=False)
    for name, value in shown["model"].items():
        model.add_row(Text("the model is reached via" if name == "via" else name), Text(harmless(value)))
    return Group(table, Text(), model)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else str(int(value))
    return harmless(str(value))
