"""The table of `readalong jobs`."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from readalong.cli.json_fields import mapping, text
from readalong.cli.render.columns import Column, Layout, table
from readalong.cli.render.metrics import age, rate, short

STYLES: Final = {"queued": "cyan", "running": "blue", "done": "green", "failed": "red", "cancelled": "yellow"}

_COLUMNS: Final = (
    # An id that is cut could not be copied.
    Column("job", keep=True),
    Column("status", keep=True),
    Column("age", right=True, keep=True),
    Column("model", cut=8),
    Column("error", cut=12),
    Column("attempt", right=True),
    Column("first token", right=True),
    Column("tokens/s", right=True),
    Column("events", right=True),
    Column("message", cut=16),
)
#: Widths of the columns where lines come one by one.
_FOLLOWED: Final = dict(enumerate((22, 9, 6, 20, 20, 7, 11, 8, 6, 40)))


def jobs_table(jobs: list[dict[str, Any]], width: int) -> list[Text]:
    """Returns a header and a line for each job. An unknown value is a dash."""
    return table(_COLUMNS, [_cells(job, age(job.get("created_at"))) for job in jobs], width)


class JobLines:
    """Lines of jobs that come one by one, in columns of one width."""

    def __init__(self, width: int) -> None:
        self._layout = Layout.fit(_COLUMNS, _FOLLOWED, width)

    def header(self) -> Text:
        return self._layout.header()

    def line(self, job: dict[str, Any]) -> Text:
        """Returns the line of a job. The age of an ended job is that at its end."""
        return self._layout.row(_cells(job, age(job.get("created_at"), job.get("ended_at"))))


def _cells(job: dict[str, Any], old: str) -> list[Text]:
    metrics, error = mapping(job.get("metrics")), mapping(job.get("error"))
    status = text(job.get("status"))
    return [
        Text(text(job.get("id"))),
        Text(status, style=STYLES.get(status, "")),
        Text(old),
        Text(text(job.get("model"), 40)),
        Text(text(error.get("code"), 40), style="red"),
        Text(text(job.get("attempt"), 20)),
        Text(short(metrics.get("time_to_first_token"))),
        Text(rate(metrics.get("tokens_per_second"))),
        Text(text(job.get("last_seq"), 20)),
        Text(text(error.get("message"), 80)),
    ]
