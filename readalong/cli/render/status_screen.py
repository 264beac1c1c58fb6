"""The screen of `readalong status`, and the parts that `readalong top` shows too."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

from readalong.cli.json_fields import mapping, mappings, text
from readalong.cli.render.metrics import age, count, short, size
from readalong.cli.render.workers_table import running_table, slots, workers_table
from readalong.core.states import Status

SEVERITIES: Final = ("critical", "warning", "info")
_STYLES: Final = {"critical": "bold red", "warning": "bold yellow", "info": "bold cyan"}
#: Findings and running jobs that one screen has room for.
_MOST: Final = 6
_INDENT: Final = " " * 10


def findings_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the findings, the worst first, and among those of one severity stuck jobs first."""
    return sorted(mappings(status.get("findings")), key=lambda one: (_rank(one), one.get("code") != "job_stuck"))


def grouped(findings: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Returns the findings of one code and severity together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for finding in findings:
        groups.setdefault((str(finding.get("code")), str(finding.get("severity"))), []).append(finding)
    return list(groups.values())


def status_screen(status: dict[str, Any], width: int, most: int = _MOST) -> list[Text]:
    """Returns the lines: what is the matter and what to do, then Redis, queue, jobs, workers and what runs longest.

    Information comes last: it is no trouble.
    """
    workers, now = mappings(status.get("workers")), status.get("now")
    groups = grouped(findings_of(status))
    infos = [group for group in groups if group[0].get("severity") == "info"]
    lines = [line for group in groups if group not in infos for line in group_lines(group, width, now, most)]
    if not lines:
        lines.append(Text("all is well", style="bold green"))
    lines += [Text(), *(wrapped(line, width) for line in summary_lines(status))]
    if workers:
        lines += [Text(), *workers_table(workers, width, now)]
    running = running_table(workers, width, now, most)
    if len(running) > 1:
        lines += [Text(), *running]
    for group in infos:
        lines += [Text(), *group_lines(group, width, now, most)]
    return lines


def group_lines(group: list[dict[str, Any]], width: int, now: object, most: int) -> list[Text]:
    """Returns the title, reason and action of the first one, and a line for each further one that names a job."""
    finding = group[0]
    head = finding_title(group)
    if (since := age(finding.get("since"), now)) != "-":
        head.append(f"  for {since}", style="dim")
    lines = [wrapped(head, width, "")]
    if subject := _subject(finding):
        lines.append(Text(f"{_INDENT}{subject}"))
    if reason := text(finding.get("reason"), 600):
        lines.append(wrapped(Text(_INDENT + reason), width))
    if action := text(finding.get("action"), 600):
        # A command that is folded could not be copied: the terminal folds it, without a newline.
        lines.append(Text.assemble(_INDENT, ("→ ", "bold"), (action, "cyan")))
    for other in group[1:most]:
        lines.append(Text.assemble(_INDENT, _subject(other), (f"  for {age(other.get('since'), now)}", "dim")))
    if len(group) > most:
        lines.append(Text(f"{_INDENT}and {len(group) - most} more: readalong status --json", style="dim"))
    return lines


def finding_title(group: list[dict[str, Any]]) -> Text:
    """Returns severity and title, and how many there are."""
    severity = text(group[0].get("severity"), 20)
    title = text(group[0].get("title"), 80) + (f" ({len(group)})" if len(group) > 1 else "")
    return Text.assemble((f"{severity:<10}", _STYLES.get(severity, "bold")), (title, "bold"))


def _subject(finding: dict[str, Any]) -> str:
    """Returns the id of the job that it is about, or else of the worker."""
    return text(finding.get("job_id")) or text(finding.get("worker_id"))


def summary_lines(status: dict[str, Any]) -> list[Text]:
    """Returns a line each for Redis, the queue, the jobs and the workers."""
    queue, jobs = mapping(status.get("queue")), mapping(status.get("jobs"))
    workers = mappings(status.get("workers"))
    used, all_slots = slots(workers)
    alive = sum(bool(worker.get("alive")) for worker in workers)
    waits = [f"{count(queue.get('length'))} waiting", size(queue.get("bytes"))]
    if queue.get("oldest_wait_seconds") is not None:
        waits.append(f"the oldest for {short(queue.get('oldest_wait_seconds'))}")
    states = [f"{count(jobs.get(state))} {state}" for state in Status if jobs.get(state)] or ["none"]
    return [
        _line("redis", _redis(mapping(status.get("redis")))),
        _line("queue", waits),
        _line("jobs", states),
        _line("workers", [f"{alive} alive of {len(workers)}", f"{used} of {all_slots} slots in use"]),
    ]


def wrapped(line: Text, width: int, indent: str = _INDENT) -> Text:
    """Returns the line folded at spaces, with the further lines indented; unchanged where that is too narrow."""
    if line.cell_len <= width or width < 2 * len(indent) + 20:
        return line
    folded, current = Text(), Text()
    # The first word has the spaces before it.
    start = len(line.plain) - len(line.plain.lstrip(" "))
    for word in line[start:].split(" "):
        if not current and not folded:
            current = line[:start] + word
        elif current.cell_len + 1 + word.cell_len > width:
            folded.append_text(current).append("\n")
            current = Text(indent) + word
        else:
            current = Text.assemble(current, " ", word)
    return folded.append_text(current)


def _redis(redis: dict[str, Any]) -> list[str]:
    kept = mapping(redis.get("persistence"))
    limit = redis.get("maxmemory_bytes")
    parts = [
        text(redis.get("state"), 20),
        text(redis.get("version"), 40),
        f"{size(redis.get('used_memory_bytes'))} of {size(limit) if limit else 'no limit'}",
        text(redis.get("maxmemory_policy"), 40),
        "+".join(name.upper() for name in ("aof", "rdb") if kept.get(name)) or ("not kept on disk" if kept else ""),
        short(redis.get("round_trip_seconds") or None),
    ]
    return [part for part in parts if part not in ("", "-", "- of no limit")]


def _line(name: str, parts: list[str]) -> Text:
    return Text.assemble((f"{name:<10}", "dim"), " · ".join(parts))


def _rank(finding: dict[str, Any]) -> int:
    severity = finding.get("severity")
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
