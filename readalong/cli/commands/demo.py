"""`readalong demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import Host, Processes


def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0: any free one.")] = 8000,
    host: Host = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    processes: Processes = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what the processes log.")] = False,
) -> None:
    """Start everything on this machine: Redis, worker, API and a model. Ctrl-C ends it all.

    The Redis is an embedded Valkey that keeps nothing, or READALONG_REDIS_URL.
    The model is the built-in one, or the one that OPENAI or AZURE variables name.

    Exit codes: 0 ended by a signal, 1 something failed, 2 bad settings, 130 ended by a second Ctrl-C.
    """
    from readalong.cli.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    import asyncio  # noqa: PLC0415

    from readalong.cli.demo.demo import Demo  # noqa: PLC0415
    from readalong.cli.demo.options import DemoOptions  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415

    options = DemoOptions(host, port, workers, processes, verbose)
    out, err = Terminal(highlight=False), Terminal(stderr=True, highlight=False)
    raise typer.Exit(asyncio.run(Demo(settings, options, out, err).run()))
