"""`readalong ask`."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.commands.options import DEFAULT_URL, GiveUp, Url


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="The model; else the API's own.", show_default=False)] = None,
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
) -> None:
    """Submit a question and watch the answer. Exit codes as for `watch`."""
    from readalong.cli.watcher import submit_and_watch  # noqa: PLC0415

    raise typer.Exit(submit_and_watch(url, question, model, give_up))
