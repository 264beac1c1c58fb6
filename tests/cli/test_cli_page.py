"""docs/cli.md says what the command has."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from readalong.cli import exit_codes
from readalong.cli.main import app

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
COMMANDS = typer.main.get_group(app).commands
SERVERS = {"demo", "api", "worker", "model", "settings"}


def test_every_command_is_in_the_table() -> None:
    named = set(re.findall(r"^\| `([a-z]+)", PAGE.partition("## ")[0], re.MULTILINE))
    assert named == set(COMMANDS) - SERVERS


def test_every_option_of_the_page_exists() -> None:
    """In its examples, and in the row of its command."""
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    calls = [found for line in lines for found in re.findall(r"readalong ([a-z]+) ?([^|<#>]*)", line)]
    table = PAGE.partition("## ")[0]
    calls += [(row[1], row[0]) for row in re.finditer(r"^\| `([a-z]+).*$", table, re.MULTILINE)]
    assert len(calls) > 15
    for name, words in calls:
        known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<![\w-])--[a-z-]+", words)) <= known, name


def test_every_exit_code_is_in_the_table() -> None:
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
