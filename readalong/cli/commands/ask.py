"""`readalong ask`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from readalong.cli.commands.options import GiveUp, Url
from readalong.cli.completion import DEFAULT_URL, complete_model


def ask(
    question: Annotated[
        list[str] | None,
        typer.Argument(help="What to ask. A pipe's text is put below it; `-` stands for stdin.", show_default=False),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model; else the API's own.", show_default=False, autocompletion=complete_model),
    ] = None,
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
    as_json: Annotated[bool, typer.Option("--json", help="The events as JSON, one a line.")] = False,
) -> None:
    """Submit a question and watch the answer. Ctrl-C cancels it.

    Exit codes: 0 done, 1 failed, 2 misuse, 3 cancelled, 130 Ctrl-C.
    """
    from readalong.cli.question import read_question  # noqa: PLC0415
    from readalong.cli.watching import submit_and_watch  # noqa: PLC0415

    body: dict[str, Any] = {"messages": [{"role": "user", "content": read_question(question or [])}]}
    if model is not None:
        body["model"] = model
    raise typer.Exit(submit_and_watch(url, body, give_up, as_json=as_json))
