"""The screen of `readalong show`: a job, its timeline, and the lines of redis-cli that show the same."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from readalong.cli.json_fields import mapping, mappings, number, text
from readalong.cli.render.columns import Column, table
from readalong.cli.render.jobs_table import STYLES
from readalong.cli.render.metrics import age, count, moment, rate, short, summary
from readalong.cli.render.sparkline import rates, sparkline
from readalong.cli.render.status_screen import wrapped
from readalong.core.keys import Keys, is_job_id
from readalong.core.states import TERMINAL

_COLUMNS: Final = (
    Column("at", right=True, keep=True),
    Column("what", keep=True),
    Column("attempt", right=True),
    Column("reason", cut=12),
    Column("worker", cut=12),
    Column("pid", right=True),
    Column("host", cut=10),
    Column("time"),
)
_INDENT: Final = " " * 12
_PLOT: Final = 60


def job_screen(job: dict[str, Any], width: int, prefix: str, cli: str) -> list[Text]:
    """Returns the lines. What the prompt and the answer say is not among them."""
    lines = [_line("job", text(job.get("id")), width, fold=False), *_state(job, width)]
    if timeline := mappings(job.get("timeline")):
        lines += [Text(), *_timeline(timeline, width)]
    if plot := _plot(job, min(_PLOT, width - len(_INDENT))):
        lines += [Text(), plot]
    if is_job_id(str(job.get("id"))):
        lines += [Text(), Text("the same in Redis", style="dim"), *redis_lines(str(job["id"]), job, prefix, cli)]
    return lines


def redis_lines(job_id: str, job: dict[str, Any], prefix: str, cli: str) -> list[Text]:
    """Returns the commands that show, follow and cancel the job."""
    keys = Keys(prefix)
    commands = [
        # Not the request: a prompt is nothing to be shown by the way.
        f"{cli} hmget '{keys.job(job_id)}' status attempt last_seq worker error",
        f"{cli} xrevrange '{keys.events(job_id)}' + - count 10",
    ]
    if job.get("status") not in TERMINAL:
        commands += [
            f"{cli} --raw subscribe '{keys.live(job_id)}'",
            f"{cli} set '{keys.cancel(job_id)}' 'your name'",
        ]
    return [Text(command, style="cyan") for command in commands]


def _state(job: dict[str, Any], width: int) -> list[Text]:
    status, error, worker = text(job.get("status")), mapping(job.get("error")), mapping(job.get("worker"))
    created, ended = job.get("created_at"), job.get("ended_at")
    lines = [Text.assemble((f"{'status':<12}", "dim"), (status, STYLES.get(status, "bold")))]
    if waits := text(job.get("waiting_for"), 40):
        lines[-1].append(f", waits for a {waits}" if waits == "worker" else f", waits for its {waits}", style="yellow")
    if error:
        retry = "; a new job may succeed" if error.get("retryable") else ""
        lines.append(_line("error", f"{text(error.get('message'), 600)} ({text(error.get('code'))}{retry})", width))
    age_line = f"{age(created)}, since {text(created)}" + (f"; took {age(created, ended)}" if ended else "")
    lines += [_line("model", text(job.get("model")), width), _line("age", age_line, width)]
    if worker:
        where = f"{text(worker.get('id'))} (pid {text(worker.get('pid'))} on {text(worker.get('host'))})"
        lines.append(_line("worker", where, width))
    lines.append(_line("events", f"{text(job.get('last_seq'))}, the last {age(job.get('last_event_at'))} ago", width))
    if numbers := summary(mapping(job.get("metrics")), mapping(job.get("usage"))):
        lines.append(_line("numbers", text(numbers), width))
    if cost := mapping(job.get("cost")):
        lines.append(_line("cost", f"{text(cost.get('amount'))} {text(cost.get('currency'))}", width))
    for name in ("thread", "retry_of", "deadline"):
        if job.get(name):
            lines.append(_line(name, text(job[name]), width))
    if metadata := mapping(job.get("metadata")):
        pairs = (f"{text(key)}={text(value)}" for key, value in metadata.items())
        lines.append(_line("metadata", ", ".join(pairs), width))
    return lines


def _timeline(timeline: list[dict[str, Any]], width: int) -> list[Text]:
    """Returns a line for each step. `at`: since the first one."""
    first = moment(timeline[0].get("at"))
    rows = []
    for step in timeline:
        worker, at = mapping(step.get("worker")), moment(step.get("at"))
        since = "-" if first is None or at is None else f"+{short((at - first).total_seconds())}"
        rows.append(
            [
                Text(since),
                Text(text(step.get("what"), 30).replace("_", " ")),
                Text(text(step.get("attempt"), 20)),
                Text(text(step.get("reason"), 40), style="yellow"),
                Text(text(worker.get("id"), 60)),
                Text(text(worker.get("pid"), 20)),
                Text(text(worker.get("host"), 60)),
                Text(text(step.get("at"), 40)),
            ]
        )
    return table(_COLUMNS, rows, width)


def _plot(job: dict[str, Any], width: int) -> Text | None:
    """Returns the tokens over time, from the submit to the newest event."""
    found = job.get("progress")
    points: list[tuple[float, float]] = []
    for point in found if isinstance(found, list) else []:
        if isinstance(point, list) and len(point) == 2:
            seconds, tokens = number(point[0]), number(point[1])
            if seconds is not None and tokens is not None:
                points.append((seconds, tokens))
    spans = rates(points, width)
    if not spans:
        return None
    label = f"tokens/s over {short(points[-1][0])}: {count(points[-1][1])} tokens, up to {rate(max(spans))}/s"
    return Text.assemble((label, "dim"), "\n", sparkline(spans, width))


def _line(name: str, value: str, width: int, *, fold: bool = True) -> Text:
    line = Text.assemble((f"{name:<12}", "dim"), value)
    return wrapped(line, width, _INDENT) if fold else line
