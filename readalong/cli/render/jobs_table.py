"""The table of `readalong jobs`."""

from __future__ import annotations

from typing import Any, Final

from rich.table import Table
from rich.text import Text

from readalong.cli.render.metrics import age, rate, seconds
from readalong.cli.sanitize import one_line

_STYLES: Final = {"queued": "cyan", "running": "blue", "done": "green", "failed": "red", "cancelled": "yellow"}


def jobs_table(jobs: list[dict[str, Any]]) -> Table:
    """Returns a table with one row a job. An unknown value is a dash."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "status", "model"):
        # An id that is cut or folded could not be copied.
        table.add_column(name, no_wrap=True, overflow="ignore" if name == "job" else "ellipsis")
    for name in ("attempt", "age", "events", "first token", "tokens/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("error", no_wrap=True, overflow="ellipsis")
    for job in jobs:
        metrics, error = job.get("metrics"), job.get("error")
        metrics = metrics if isinstance(metrics, dict) else {}
        error = error if isinstance(error, dict) else {}
        status = str(job.get("status"))
        table.add_row(
            Text(one_line(str(job.get("id")))),
            Text(one_line(status), style=_STYLES.get(status, "")),
            Text(one_line(str(job.get("model")), 40)),
            Text(one_line(str(job.get("attempt")), 20)),
            Text(age(job.get("created_at"))),
            Text(one_line(str(job.get("last_seq")), 20)),
            Text(seconds(metrics.get("time_to_first_token"))),
            Text(rate(metrics.get("tokens_per_second"))),
            Text(one_line(f"{error.get('code')}: {error.get('message')}", 80) if error else ""),
        )
    return table
