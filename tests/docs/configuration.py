"""`docs/configuration.md`, made from the settings: `python -m tests.docs.configuration` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from readalong.core.settings import Settings

PAGE: Final = Path(__file__).parents[2] / "docs" / "configuration.md"

_HEAD: Final = """\
# Configuration

APIs and workers read their settings from environment variables, once, when they start. A wrong value ends the process
with one line that names the variable. `readalong settings` shows the values in force, but for passwords and keys.

The variables of the openai package say how the model is reached ([models](models.md)).

| variable | default | meaning |
| --- | --- | --- |
"""


def configuration_page() -> str:
    """Returns the page: every setting in the order of `Settings`."""
    rows = []
    for field, info in Settings.model_fields.items():
        default = f"`{_text(info.default)}`" if _text(info.default) else ""
        rows.append(
            f"| `READALONG_{field.upper()}` | {default} | {(info.description or '').replace('|', chr(92) + '|')} |\n"
        )
    return _HEAD + "".join(rows)


def _text(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) and default < 1e6 else str(default)


if __name__ == "__main__":
    PAGE.write_text(configuration_page(), "utf-8")
