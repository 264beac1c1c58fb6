"""The screen of `readalong top`."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from readalong.cli.json_fields import mapping, mappings, number, text
from readalong.cli.render.metrics import count, rate, short
from readalong.cli.render.sparkline import sparkline
from readalong.cli.render.status_screen import finding_title, findings_of, grouped, summary_lines, wrapped
from readalong.cli.render.workers_table import running_table, workers_table
from readalong.core.states import ENDS

_MINUTE: Final = 60
#: Findings and workers that the screen has room for.
_FINDINGS: Final = 3
_WORKERS: Final = 8


def top_screen(status: dict[str, Any], stats: dict[str, Any], width: int, height: int, notice: str = "") -> list[Text]:
    """Returns at most `height` lines: what is the matter, queue and workers, the rates of an hour, the slowest jobs."""
    now = text(status.get("now"))[11:19]
    head = Text.assemble(("readalong top", "bold"), f"  {now}  ", ("q quits", "dim"))
    trouble: list[Text] = list(wrapped(Text(text(notice), "yellow"), width, "").split()) if notice else []
    lines = [head, *trouble, *_findings(status, width), *summary_lines(status), Text(), *_rates(stats, width), Text()]
    workers = mappings(status.get("workers"))
    lines += workers_table(workers, width, status.get("now"))[: _WORKERS + 1]
    if len(workers) > _WORKERS:
        lines.append(Text(f"and {len(workers) - _WORKERS} more", style="dim"))
    running = running_table(workers, width, status.get("now"), max(0, height - len(lines) - 2))
    if len(running) > 1:
        lines += [Text(), *running]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def _findings(status: dict[str, Any], width: int) -> list[Text]:
    """Returns a line for each kind of finding: its title, the first job, the reason."""
    groups = grouped(findings_of(status))
    lines = []
    for group in groups[:_FINDINGS]:
        parts = [text(group[0].get("job_id")), text(group[0].get("reason"))]
        line = finding_title(group).append("".join(f"  {part}" for part in parts if part), style="dim")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    if len(groups) > _FINDINGS:
        lines.append(Text(f"{'':10}and {len(groups) - _FINDINGS} more: readalong status", style="dim"))
    return lines


def _rates(stats: dict[str, Any], width: int) -> list[Text]:
    minutes, totals = mappings(stats.get("minutes")), mapping(stats.get("totals"))
    if not minutes:
        return [Text("no numbers of the last hour", style="dim")]
    ended = [sum(number(minute.get(name)) or 0 for name in ENDS) for minute in minutes]
    tokens = [number(minute.get("tokens")) or 0 for minute in minutes]
    # The minute that runs is not whole: its rate would always look like a fall.
    jobs_now, tokens_now = ended[-2:][0], tokens[-2:][0] / _MINUTE
    return [
        _plot("jobs/min", f"{count(jobs_now)}", ended, width),
        _plot("tokens/s", rate(tokens_now), [value / _MINUTE for value in tokens], width),
        _times("first token", totals.get("time_to_first_token")),
        _times("queue time", totals.get("queue_seconds")),
        _errors(mapping(totals.get("errors")), totals),
    ]


def _plot(name: str, now: str, values: list[float], width: int) -> Text:
    return Text.assemble((f"{name:<12}", "dim"), f"{now:>8}  ", (sparkline(values, min(60, width - 24)), "blue"))


def _times(name: str, value: object) -> Text:
    found = mapping(value)
    p50, p95 = short(found.get("p50")), short(found.get("p95"))
    return Text.assemble((f"{name:<12}", "dim"), f"p50 {p50}  p95 {p95}" if found else "-")


def _errors(errors: dict[str, Any], totals: dict[str, Any]) -> Text:
    worst = sorted(errors.items(), key=lambda pair: -(number(pair[1]) or 0))
    ends = [f"{count(totals.get(name))} {name}" for name in ENDS]
    line = Text.assemble((f"{'last hour':<12}", "dim"), " · ".join(ends))
    if worst:
        line.append("  " + ", ".join(f"{text(code, 40)} {text(number_of, 20)}" for code, number_of in worst), "red")
    return line
