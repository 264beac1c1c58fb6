"""Foreign text on a real terminal, with each control character in each place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from readalong.core.sse import frame
from tests.cli.scripted_api import Act, ScriptedApi, answer, change, event, stream, text

#: Characters that could steer a terminal, or change the order of text.
CODES = [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F]
CODES += [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
EVIL = "".join(map(chr, CODES))
RAW = re.compile(f"[{re.escape(EVIL)}]")

ID = "abcdefghijklmnopqrstuv"
JOB = {
    "id": EVIL,
    "status": EVIL,
    "model": EVIL,
    "attempt": EVIL,
    "last_seq": EVIL,
    "created_at": EVIL,
    "metrics": {"time_to_first_token": EVIL, "tokens_per_second": EVIL},
    "error": {"code": EVIL, "message": EVIL},
    EVIL: [EVIL],
}
ENDED: dict[str, Any] = {
    "finish_reason": EVIL,
    "usage": {"completion_tokens": EVIL},
    "metrics": {"time_to_first_token": EVIL, "tokens_per_second": EVIL, "total_seconds": EVIL},
}
WAITING: dict[str, Any] = {"for": "model", "reason": EVIL}
STARTS = (
    text(1, EVIL),
    text(2, EVIL, choice=1),
    text(3, EVIL, choice=EVIL),
    event(4, "reasoning", content=EVIL),
    event(5, "refusal", content=EVIL),
    event(6, "tool_call", name=EVIL, arguments={EVIL: EVIL}),
    event(7, "tool_call", name=EVIL, arguments=EVIL, arguments_error=EVIL),
    event(8, "function_call", name=EVIL, arguments={"a": EVIL}),
    event(9, "waiting", **WAITING),
)
ENDS = {
    "done": event(11, "done", **ENDED),
    "failed": event(11, "failed", error={"code": EVIL, "message": EVIL, "retryable": True}, **ENDED),
    "failed oddly": event(11, "failed", error=EVIL, metrics=EVIL, usage=[EVIL]),
    "cancelled": event(11, "cancelled", by=EVIL, **ENDED),
    "restarted, done": event(10, "restarted", attempt=EVIL, reason=EVIL) + event(11, "done", **ENDED),
}
REFUSED = answer(409, {"code": EVIL, "detail": EVIL})
STATUS: dict[str, Any] = {
    "now": EVIL,
    "findings": [dict.fromkeys(("code", "severity", "title", "reason", "action", "job_id", "worker_id"), EVIL)],
    "redis": {
        **dict.fromkeys(("state", "version", "maxmemory_policy", "round_trip_seconds"), EVIL),
        "prefix": EVIL,
        "cli": EVIL,
    },
    "queue": dict.fromkeys(("length", "bytes", "oldest_wait_seconds"), EVIL),
    "jobs": {"queued": EVIL, EVIL: EVIL},
    "workers": [
        {
            **dict.fromkeys(("id", "host", "pid", "version", "started_at", "slots", "refused", "lag_seconds"), EVIL),
            "alive": True,
            "running": [{"job_id": EVIL, "since": EVIL}],
        }
    ],
}
STATS: dict[str, Any] = {"minutes": [{"tokens": EVIL}], "totals": {"done": EVIL, "errors": {EVIL: EVIL}}}
STORY: dict[str, Any] = {
    **JOB,
    **dict.fromkeys(("content", "waiting_for", "thread", "deadline", "retry_of"), EVIL),
    "worker": {"id": EVIL, "pid": EVIL, "host": EVIL},
    "metadata": {EVIL: EVIL},
    "cost": {"amount": EVIL, "currency": EVIL},
    "timeline": [{"at": EVIL, "what": EVIL, "attempt": EVIL, "reason": EVIL, "worker": {"id": EVIL}}],
    "progress": [[EVIL, EVIL]],
}


def no_json(handler: Any) -> None:
    """A foreign server, with its own reason phrase."""
    handler.wfile.write(b"HTTP/1.1 500 \x1b[2J\xe2\x80\xae\r\ncontent-length: 5\r\nconnection: close\r\n\r\n\x1b[2J\r")


CALLS: dict[str, tuple[Sequence[str], list[Act]]] = {
    "jobs": (["jobs"], [answer(200, {"jobs": [JOB], "next": EVIL}), answer(200, {"jobs": []})]),
    "jobs oddly": (["jobs"], [answer(200, {"jobs": [{**JOB, "metrics": EVIL, "error": EVIL}, EVIL]})]),
    "jobs --json": (["jobs", "--json"], [answer(200, {"jobs": [JOB]})]),
    "jobs refused": (["jobs"], [REFUSED]),
    "jobs no json": (["jobs"], [no_json]),
    "cancel": (["cancel", ID], [answer(202, {"status": EVIL})]),
    "cancel refused": (["cancel", ID], [REFUSED]),
    "ask": (["ask", "?"], [answer(202, {"id": ID + EVIL}), stream(*STARTS, ENDS["done"])]),
    "ask refused": (["ask", "?"], [REFUSED]),
    "status": (["status"], [answer(200, STATUS)]),
    "status --json": (["status", "--json"], [answer(200, STATUS)]),
    "status many": (["status"], [answer(200, {**STATUS, "findings": STATUS["findings"] * 9})]),
    "status oddly": (["status"], [answer(200, dict.fromkeys(STATUS, EVIL))]),
    "workers": (["workers"], [answer(200, STATUS)]),
    "top": (["top"], [answer(200, STATUS), answer(200, STATS)]),
    "show": (["show", ID], [answer(200, STORY), answer(403)]),
    "show --content": (["show", ID, "--content"], [answer(200, STORY)]),
    "several": (["cancel", "abcd"], [answer(200, {"jobs": [{**JOB, "id": "abcd" + EVIL + end} for end in "xy"]})]),
    "retry": (["retry", ID], [answer(202, JOB)]),
    "erase": (["erase", "--yes", ID], [REFUSED]),
    "jobs --follow": (
        ["jobs", "--follow"],
        [stream(change("job", **JOB), change("erased", id=EVIL)), answer(200, {"jobs": [JOB]}), REFUSED],
    ),
    "doctor": (["doctor", "--no-job"], [answer(200, {}), answer(200, STATUS), REFUSED]),
    "watch two": (["watch", ID, ID[::-1]], [stream(*STARTS, ENDS["failed"]), stream(*STARTS, ENDS["done"])]),
    "watch --json": (["watch", ID, "--json"], [stream(*STARTS, ENDS["done"])]),
    "watch refused": (["watch", ID], [REFUSED]),
    "watch over": (["watch", ID], [answer(204), answer(200, JOB)]),
    "watch no stream": (["watch", ID, "--give-up", "0"], [stream(frame(b"\x1b[2J", event="content", id="1"))]),
    **{f"watch {name}": (["watch", ID], [stream(*STARTS, end)]) for name, end in ENDS.items()},
}
#: Those of `make test`: a process each.
QUICK = {"jobs --json", "watch failed", "status", "show"}


def shown(command: Sequence[str], **environment: str) -> str:
    """Returns the output of a command on a terminal without colours: no escape sequence is ours."""
    ours, its = os.openpty()
    # The kernel must not add CR.
    attributes = termios.tcgetattr(its)
    attributes[1] &= ~termios.OPOST
    termios.tcsetattr(its, termios.TCSANOW, attributes)
    read: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, read))
    reader.start()
    variables = {**os.environ, "TERM": "dumb", **environment}
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=variables
    )
    os.close(its)
    process.wait(60)
    reader.join(60)
    os.close(ours)
    return b"".join(read).decode()


def _read(terminal: int, into: list[bytes]) -> None:
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # Linux: no process has the terminal open any more
            piece = b""
        if not piece:
            return
        into.append(piece)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CALLS]
)
def test_no_control_of_a_server_or_a_job_reaches_a_terminal(api: ScriptedApi, name: str) -> None:
    """In every field that a command shows, as text and as JSON. The JSON has the same meaning."""
    words, acts = CALLS[name]
    api.acts.extend(acts)
    seen = shown(["-m", "readalong.cli", *words], READALONG_URL=api.url)
    assert RAW.findall(seen) == []
    assert "Traceback" not in seen
    assert seen.strip()
    if name == "jobs --json":
        assert [orjson.loads(line) for line in seen.split("\n") if line] == [JOB]


_LOGS = """
import logging, sys
from readalong.process import logs
from readalong.core.settings import load
logs.set_up(load())
evil = "".join(map(chr, map(int, sys.argv[1].split(","))))
logger = logging.getLogger("readalong.worker.attempt")
logger.warning("job %s: cancelled by %s\\n2026-01-01 ERROR forged", "x", evil, extra={"job": evil})
try:
    raise ValueError(evil)
except ValueError:
    logger.exception("broken: %s", evil)
"""


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_control_of_a_job_reaches_a_log(form: str) -> None:
    """Logs are read in terminals. The message of a record is one line."""
    codes = ",".join(map(str, CODES))
    seen = shown(["-c", _LOGS, codes], READALONG_LOG_FORMAT=form)
    assert RAW.findall(seen) == []
    lines = seen.rstrip("\n").split("\n")
    assert "cancelled by" in lines[0]
    assert "forged" in lines[0]
    if form == "json":
        first, second = map(orjson.loads, lines)
        assert (first["job"], EVIL in first["message"], EVIL in second["exception"]) == (EVIL, True, True)
    else:
        assert "broken" in lines[1]
        assert lines[2] == "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("words", "acts"),
    [
        pytest.param(
            ["jobs"],
            [answer(200, {"jobs": [{**JOB, "id": f"{n:040}"} for n in range(100)]})] * 20,
            marks=pytest.mark.slow,
        ),
        (["jobs", "--json"], [answer(200, {"jobs": [{**JOB, "id": f"{n:040}"} for n in range(100)]})] * 20),
        pytest.param(["settings"], [], marks=pytest.mark.slow),
        pytest.param(["status"], [answer(200, STATUS)], marks=pytest.mark.slow),
        pytest.param(["show", ID, "--json"], [answer(200, STORY)], marks=pytest.mark.slow),
        (["watch", ID], [stream(*[text(seq, "word " * 10_000) for seq in range(1, 30)])]),
    ],
    ids=["jobs", "jobs --json", "settings", "status", "show", "watch"],
)
def test_a_closed_pipe_ends_a_command_without_a_word(api: ScriptedApi, words: list[str], acts: list[Act]) -> None:
    """`| head`: nothing on stderr, and the exit code of a program that SIGPIPE has ended."""
    api.acts.extend(acts)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "readalong.cli", *words]
    with os.fdopen(writer, "wb") as stdout:
        variables = {**os.environ, "READALONG_URL": api.url}
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=variables, timeout=60, check=False)
    assert (done.stderr, done.returncode) == (b"", 141)


def test_what_a_demo_says_into_a_closed_pipe_ends_nothing() -> None:
    """The demo runs until a signal, also without a reader."""
    code = """
from readalong.cli.render.terminal import Terminal
terminal = Terminal()
terminal.say("a")
terminal.say("b")
print("c", flush=True)
"""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.stderr, done.returncode) == (b"", 0)
