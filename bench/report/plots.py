"""The plots of README.md, from a run's JSON alone: `python -m bench.report.plots` draws those of the committed run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import orjson
from matplotlib.figure import Figure

from bench.harness.quantiles import PARTS

RESULTS: Final = Path(__file__).parents[1] / "results"
NAMES: Final = ("watchers.svg", "delays.svg", "added.svg")

_COLOURS: Final = {
    "readalong": "#d1495b",
    "nchan": "#00798c",
    "resumable-stream": "#edae49",
    "subscription a client": "#66a182",
    "write(2)": "#8d96a3",
    "direct": "#00798c",
}


def draw(found: dict[str, Any], folder: Path) -> None:
    """Writes the plots into a folder."""
    # The same results give the same bytes, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9, "axes.grid": True})
    for name, figure in zip(NAMES, (_watchers(found), _delays(found), _added(found)), strict=True):
        figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
        # matplotlib ends lines of its paths with a blank.
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", "utf-8")


def _watchers(found: dict[str, Any]) -> Any:
    figure = Figure(figsize=(11, 3.4))
    delivered, busy, speed = figure.subplots(1, 3)
    for name, one in found["fanout"].items():
        counts = sorted(map(int, one["paced"]))
        at = [one["paced"][str(count)] for count in counts]
        style = {"color": _COLOURS[name], "marker": "o", "label": name}
        delivered.plot(counts, [each["per_second"] for each in at], **style)
        busy.plot(counts, [100 * each["busy"]["server"] for each in at], **style)
    delivered.set(title="delivered a second, 20 events a second", xlabel="watchers", ylim=0)
    busy.set(title="CPU of the server, % of a core", xlabel="watchers", ylim=0)
    busy.legend()
    names = list(found["fanout"])
    rates = [found["fanout"][name]["flood"]["per_second"] for name in names]
    speed.barh(names, rates, color=[_COLOURS[name] for name in names])
    speed.set(title="delivered a second at full speed", xscale="log", xlim=(1e4, 1e7))
    speed.invert_yaxis()
    figure.tight_layout()
    return figure


def _delays(found: dict[str, Any]) -> Any:
    figure = Figure(figsize=(6.5, 3.4))
    axes = figure.subplots()
    for name, one in found["fanout"].items():
        watchers, paced = next(iter(one["paced"].items()))
        axes.plot(paced["delay_curve"], PARTS, color=_COLOURS[name], label=name)
    axes.set(title=f"append to client, {watchers} watchers", xlabel="ms", ylabel="part of all", xscale="log")
    axes.legend()
    return figure


def _added(found: dict[str, Any]) -> Any:
    streams = found["streams"]
    figure = Figure(figsize=(3.6 * (len(streams) + 1), 3.2))
    *each, first = figure.subplots(1, len(streams) + 1)
    for axes, (count, ways) in zip(each, streams.items(), strict=True):
        for name, way in ways.items():
            axes.plot(way["delay_curve"], PARTS, color=_COLOURS[name], label=name)
        axes.set(title=f"model to client, streams at once: {count}", xlabel="ms", ylabel="part of all", xscale="log")
        axes.legend()
    for name, colour in (("idle", "#d1495b"), ("loaded", "#8d96a3")):
        first.plot(found["starts"][name]["first_token_curve"], PARTS, color=colour, label=name)
    first.set(title="submit to first token", xlabel="ms", xscale="log")
    first.legend()
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    draw(orjson.loads((RESULTS / "latest.json").read_bytes()), RESULTS)
    sys.exit(0)
