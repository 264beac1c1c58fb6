"""The results as a table, for the terminal and for README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.results import Results

README: Final = Path(__file__).parent / "README.md"
BEGIN: Final = "<!-- table: written by `python -m bench` -->\n"
END: Final = "<!-- end of table -->\n"

_HEADS: Final = ("", "wanted", "readalong", "other", "ratio")


class Row(NamedTuple):
    """One line: `met` is whether it is as wanted, None where nothing is."""

    what: str
    wanted: str
    got: str
    other: str = ""
    ratio: str = ""
    met: bool | None = None


def rows(results: Results) -> list[Row]:
    """All lines of the table."""
    return [*_starts(results["start_ms"]), *_tokens(results["token"]), *_fanout(results["fanout"])]


def show(results: Results, console: Console) -> None:
    """Prints the table."""
    table = Table(title="Times as p50 / p95 / p99; ratio: readalong to the other, less than 1 is better")
    for place, head in enumerate(_HEADS):
        table.add_column(head, justify="right" if place > 1 else "left", no_wrap=place == 0)
    colours = {None: "", True: "green", False: "red"}
    for row in rows(results):
        table.add_row(*row[:5], style=colours[row.met])
    console.print(table)
    console.print(where(results))


def where(results: Results) -> str:
    """Date, machine and versions, in one paragraph."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"{results['date'][:10]}; {machine['cpu']}, {machine['cores']} cores, {machine['system']}; load before the run "
        f"{results['load_before']:.1f}; {versions}."
    )


def markdown(results: Results) -> str:
    """What README.md shows between its marks."""
    lines = ["| " + " | ".join(_HEADS) + " |", "| --- | --- | ---: | ---: | ---: |"]
    lines += ["| " + " | ".join(row[:5]) + " |" for row in rows(results)]
    return "\n".join(lines) + f"\n\n{where(results)}\n"


def write_readme(results: Results) -> None:
    """Puts the table into README.md."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + markdown(results) + END + rest.split(END)[1], "utf-8")


def _starts(start: dict[str, Any]) -> list[Row]:
    ours, stock = start["readalong_client"], start["stock_arq"]
    return [
        Row(
            "submit to start, client's clock, ms; stock arq",
            "p50 <= 5, p99 <= 20",
            _quantiles(ours),
            _quantiles(stock),
            _ratios(ours, stock),
            ours["p50"] <= 5 and ours["p99"] <= 20,
        ),
        Row("of it until the POST is answered, ms", "", _quantiles(start["readalong_post"])),
        Row("submit to start, Redis' clock, ms", "", _quantiles(start["readalong_redis"])),
    ]


def _tokens(token: dict[str, Any]) -> list[Row]:
    found = []
    for count, ways in token.items():
        ours, direct = ways["readalong"], ways["direct"]
        streams = f"{count} stream" + ("s" if int(count) > 1 else "")
        cost, other = ours["cpu_us_per_token_total"], direct["cpu_us_per_token_total"]
        # The promise is made for a machine at work: a stream that is alone pays for what idles beside it.
        promised = int(count) > 1
        parts = ours["cpu_us_per_token"]
        found += [
            Row(
                f"model to watcher, {streams}, ms; direct",
                "",
                _quantiles(ours["delay_ms"]),
                _quantiles(direct["delay_ms"]),
                _ratios(ours["delay_ms"], direct["delay_ms"]),
            ),
            Row(
                f"CPU a token, {streams}, µs; direct",
                "no more than direct" if promised else "",
                f"{cost:.0f}",
                f"{other:.0f}",
                _number(cost / other),
                cost <= other if promised else None,
            ),
            Row(
                "of it worker / API / Valkey, µs",
                "",
                " / ".join(f"{parts[n]:.0f}" for n in ("worker", "api", "valkey")),
            ),
        ]
    return found


def _fanout(fanout: dict[str, Any]) -> list[Row]:
    watchers = f"{fanout['watchers']} watchers of a job"
    return [
        Row(f"model to watcher, {watchers}, ms", "", _quantiles(fanout["delay_ms"])),
        Row(f"the API's CPU a delivery, {watchers}, µs", "", f"{fanout['cpu_us_per_delivery']['api']:.1f}"),
    ]


def _quantiles(values: dict[str, float]) -> str:
    return " / ".join(_number(values[name]) for name in ("p50", "p95", "p99"))


def _ratios(ours: dict[str, float], other: dict[str, float]) -> str:
    return " / ".join(_number(ours[name] / other[name]) for name in ("p50", "p95", "p99"))


def _number(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}" if value < 0.01 else f"{value:.3g}"
