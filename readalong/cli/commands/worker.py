"""`readalong worker`."""

from __future__ import annotations

import typer


def worker() -> None:
    """Run jobs: stream them from the model into Redis. SIGTERM drains, a second one ends at once."""
    from readalong.cli.settings import load_server_settings, run_server  # noqa: PLC0415

    settings = load_server_settings()
    from readalong.worker.main import run  # noqa: PLC0415

    raise typer.Exit(run_server(settings, lambda: run(settings)))
