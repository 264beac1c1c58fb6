"""`readalong model`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import Host


def model(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0: any free one.")] = 8001,
) -> None:
    """Serve the demo model alone: an OpenAI-compatible server that tells how its words travel."""
    from readalong.cli.server_extra import require_server_extra  # noqa: PLC0415

    require_server_extra()
    from readalong.testing.__main__ import main  # noqa: PLC0415

    raise typer.Exit(main(["--host", host, "--port", str(port)]))
