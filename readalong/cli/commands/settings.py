"""`readalong settings`."""

from __future__ import annotations

from typing import Annotated

import typer


def settings(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show every setting: variable, value, default and meaning. Passwords and keys are not shown."""
    from readalong.cli.settings import load_settings  # noqa: PLC0415

    loaded = load_settings()
    from readalong.cli.render.settings_table import settings_json, settings_table  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415
    from readalong.cli.sanitize import harmless_json  # noqa: PLC0415

    if as_json:
        typer.echo(harmless_json(settings_json(loaded), indent=True))
    else:
        Terminal.for_tables().print(settings_table(loaded))
