"""The table of `readalong jobs`."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from rich.table import Table
from rich.text import Text

from readalong.cli.client import Client
from readalong.cli.metrics import age, rate, seconds
from readalong.cli.plain import one_line

_STYLES: Final = {"queued": "cyan", "running": "blue", "done": "green", "failed": "red", "cancelled": "yellow"}
#: Jobs asked for at once.
_PAGE: Final = 100


def fetch(client: Client, status: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest `limit` jobs, page by page. Raises Problem."""
    jobs: list[dict[str, Any]] = []
    before: str | None = None
    while len(jobs) < limit:
        parameters: dict[str, str | int] = {"limit": min(_PAGE, limit - len(jobs))}
        if status is not None:
            parameters["status"] = status
        if before is not None:
            parameters["before"] = before
        answer = client.get("/v1/jobs", **parameters)
        found = answer.get("jobs")
        jobs += [job for job in found if isinstance(job, dict)] if isinstance(found, list) else []
        following = parse_qs(urlsplit(str(answer.get("next") or "")).query).get("before")
        if not following or following[0] == before:
            break
        before = following[0]
    return jobs[:limit]


def table(jobs: list[dict[str, Any]]) -> Table:
    """One row a job; what is not known yet is a dash."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("job", "status", "model"):
        # An id that is cut or folded could not be copied.
        shown.add_column(name, no_wrap=True, overflow="ignore" if name == "job" else "ellipsis")
    for name in ("attempt", "age", "events", "first token", "tokens/s"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("error", no_wrap=True, overflow="ellipsis")
    for job in jobs:
        metrics, error = job.get("metrics"), job.get("error")
        metrics = metrics if isinstance(metrics, dict) else {}
        error = error if isinstance(error, dict) else {}
        status = str(job.get("status"))
        shown.add_row(
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
    return shown
