"""The workers: a table, and the jobs of each."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from readalong.cli.json_fields import mappings, text
from readalong.cli.render.columns import Column, table
from readalong.cli.render.metrics import age, moment, short

_COLUMNS: Final = (
    Column("worker", keep=True),
    Column("state", keep=True),
    Column("age", right=True, keep=True),
    Column("slots", right=True),
    Column("heard", right=True),
    Column("lag", right=True),
    Column("pid", right=True),
    Column("host", cut=10),
    Column("version"),
)
_JOB_COLUMNS: Final = (
    Column("job", keep=True),
    Column("runs for", right=True, keep=True),
    Column("worker", cut=12),
    Column("model", cut=8),
)


def workers_table(workers: list[dict[str, Any]], width: int, now: object = None) -> list[Text]:
    """Returns a header and a line for each worker. `slots`: in use, and all. `heard`: since its last heartbeat."""
    return table(_COLUMNS, [_cells(worker, now) for worker in workers], width)


def running_jobs(workers: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Returns each job that runs, as `job_id` and `since`, with its worker. The oldest is the first."""
    pairs = [(job, worker) for worker in workers for job in mappings(worker.get("running"))]
    return sorted(pairs, key=lambda pair: str(pair[0].get("since")))


def running_table(workers: list[dict[str, Any]], width: int, now: object = None, most: int | None = None) -> list[Text]:
    """Returns a header and a line for each job that runs, the oldest first."""
    rows = [
        [
            Text(text(job.get("job_id"))),
            Text(age(job.get("since"), now)),
            Text(text(worker.get("id"), 60)),
            Text(text(job.get("model"), 40)),
        ]
        for job, worker in running_jobs(workers)[:most]
    ]
    return table(_JOB_COLUMNS, rows, width)


def slots(workers: list[dict[str, Any]]) -> tuple[int, int]:
    """Returns the slots in use, and all, of the workers that are alive."""
    alive = [worker for worker in workers if worker.get("alive")]
    return sum(len(mappings(worker.get("running"))) for worker in alive), sum(map(_slots, alive))


def _slots(worker: dict[str, Any]) -> int:
    found = worker.get("slots")
    return found if isinstance(found, int) else 0


def _cells(worker: dict[str, Any], now: object) -> list[Text]:
    state, style = _state(worker)
    return [
        Text(text(worker.get("id"), 60)),
        Text(state, style=style),
        Text(age(worker.get("started_at"), now)),
        Text(f"{len(mappings(worker.get('running')))}/{text(worker.get('slots'), 20)}"),
        Text(age(worker.get("last_heartbeat_at"), now if moment(now) else None)),
        Text(short(worker.get("lag_seconds"))),
        Text(text(worker.get("pid"), 20)),
        Text(text(worker.get("host"), 60)),
        Text(text(worker.get("version"), 20)),
    ]


def _state(worker: dict[str, Any]) -> tuple[str, str]:
    if not worker.get("alive"):
        return "dead", "red"
    if refused := worker.get("refused"):
        return f"refused: {text(refused, 40)}", "yellow"
    return "alive", "green"
