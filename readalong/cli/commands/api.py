"""`readalong api`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import Host, Processes


def api(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8000,
    processes: Processes = 1,
) -> None:
    """Serve the HTTP API and the page."""
    from readalong.cli.settings import load_server_settings, run_server  # noqa: PLC0415

    settings = load_server_settings()
    from readalong.api.server import run  # noqa: PLC0415

    raise typer.Exit(run_server(settings, lambda: run(settings, host=host, port=port, processes=processes)))
