"""`readalong watch` and `readalong ask` against a scripted API."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import orjson
import pytest

from readalong.cli.demo.ports import usable_port
from tests.cli.conftest import Run
from tests.cli.scripted_api import ScriptedApi, answer, done, event, stream, text

JOB = "abcdefghijklmnopqrstuv"


def test_text_is_on_stdout_and_the_summary_on_stderr(api: ScriptedApi, run: Run) -> None:
    """stdout holds exactly the model's text; stderr tells first token, rate, total and tokens."""
    api.acts.append(
        stream(event(1, "queued"), event(2, "started", attempt=1), text(3, "Hello, "), text(4, "du"), done(5))
    )
    result = run("watch", JOB)
    assert result.exit_code == 0
    assert result.stdout_bytes == b"Hello, du"
    assert result.stderr == "done (stop) · first token 0.52 s · 31.2 tokens/s · 5.1 s in all · 160 tokens\n"
    assert api.requests[0][1] == f"/v1/jobs/{JOB}/events"


def test_a_watch_survives_connections_that_break(api: ScriptedApi, run: Run) -> None:
    """Broken and ended connections and a 503 are overcome from the last position, without a word."""
    api.acts += [
        answer(503, {"code": "redis_unavailable", "detail": "away"}),
        stream(event(1, "queued"), text(2, "one "), drop=True),
        stream(text(3, "two "), b"id: 4\nevent: content\nda", drop=True),
        stream(),
        stream(b": still here\n\n", drop=True),
        stream(text(4, "three ")),
        answer(502),
        stream(text(5, "four"), done(6)),
    ]
    result = run("watch", JOB)
    assert result.stdout == "one two three four"
    assert api.positions() == [None, None, "2", "3", "3", "3", "4", "4"]
    assert result.stderr.startswith("done")
    assert result.exit_code == 0


def test_retry_after_is_waited_for(api: ScriptedApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An API that asks for two seconds gets them; without being asked it is a fraction of one."""
    waits: list[float] = []
    monkeypatch.setattr("readalong.cli.follower.sleep", waits.append)
    api.acts += [answer(503, retry_after="2"), stream(), stream(b"retry: 1500\n\n"), stream(done(1))]
    assert run("watch", JOB).exit_code == 0
    assert waits[0] == 2
    assert 0 < waits[1] < 1
    assert waits[-1] == 1.5


def test_events_seen_before_are_not_shown_again(api: ScriptedApi, run: Run) -> None:
    """A proxy that ignores the position and replays from the start doubles nothing."""
    api.acts += [stream(text(1, "a"), text(2, "b")), stream(text(1, "a"), text(2, "b"), text(3, "c"), done(4))]
    assert run("watch", JOB).stdout == "abc"


def test_a_job_that_waits_for_a_worker_says_so_though_that_has_no_number(api: ScriptedApi, run: Run) -> None:
    """It comes after events, and as the first of a connection; the position stays."""
    waiting = b'event: waiting\ndata: {"type":"waiting","for":"worker","since":"2026-01-01T00:00:00.000Z"}\n\n'
    api.acts += [stream(text(1, "a"), waiting, drop=True), stream(waiting, text(2, "b"), done(3))]
    result = run("watch", JOB)
    assert result.stdout == "ab"
    assert result.stderr.count("waiting for a worker: none is there (readalong worker starts one)\n") == 2
    assert api.positions() == [None, "1"]


def test_a_job_that_a_worker_has_given_back_says_why_it_may_wait(api: ScriptedApi, run: Run) -> None:
    """A worker that its model refuses is there: "start one" would be no help."""
    waiting = b'event: waiting\ndata: {"type":"waiting","for":"worker","since":"2026-01-01T00:00:00.000Z"}\n\n'
    api.acts.append(stream(event(1, "queued"), text(2, "a"), waiting, done(3)))
    assert "its own is lost, or refused by its model, and no other has begun (readalong status" in (
        " ".join(run("watch", JOB).stderr.split())
    )


def test_after_is_the_first_position(api: ScriptedApi, run: Run) -> None:
    """--after N asks for the events behind N."""
    api.acts.append(stream(text(8, "x"), done(9)))
    assert run("watch", JOB, "--after", "7").stdout == "x"
    assert api.positions() == ["7"]


def test_a_log_that_redis_has_lost_is_begun_anew(api: ScriptedApi, run: Run) -> None:
    """The position names the log that was seen, and goes back to where the present attempt began."""
    lost = event(3, "restarted", epoch="b", attempt=2, reason="log_lost")
    api.acts += [
        stream(text(8, "one ", epoch="a"), drop=True),
        stream(lost, text(4, "two ", epoch="b"), drop=True),
        stream(text(5, "three", epoch="b"), done(6, epoch="b")),
    ]
    result = run("watch", JOB, "--after", "7-a")
    assert result.stdout == "one two three"
    assert "restarted (attempt 2: log_lost)" in result.stderr
    assert api.positions() == ["7-a", "8-a", "4-b"]
    assert run("watch", JOB, "--after", "7-").exit_code == 2


def test_a_watch_gives_up(api: ScriptedApi, run: Run) -> None:
    """After --give-up seconds of unbroken trouble: one line with the position, exit code 1."""
    api.acts += [stream(text(1, "a"))] + [answer(503)] * 30
    result = run("watch", JOB, "--give-up", "0.3")
    assert result.exit_code == 1
    assert "gave up after 0.3 s at event 1" in result.stderr


def test_an_api_that_is_not_there_is_told_at_once(run: Run) -> None:
    """Connection refused: one line that names the URL, exit code 1."""
    url = f"http://127.0.0.1:{usable_port('127.0.0.1', 0)}"
    for words in (["watch", JOB], ["cancel", JOB], ["jobs"], ["ask", "Why?"]):
        result = run(*words, "--url", url)
        assert result.exit_code == 1
        assert result.stderr.strip().count("\n") == 0
        assert f"no API at {url}" in result.stderr


@pytest.mark.parametrize(("status", "code"), [(404, 4), (410, 4), (400, 2), (422, 2), (403, 1)])
def test_a_job_that_is_not_there_is_one_line(api: ScriptedApi, run: Run, status: int, code: int) -> None:
    """Answers that will not change are told with the API's own detail. A missing job and misuse have own exit codes."""
    api.acts.append(answer(status, {"code": "x", "detail": "There is\nno [bold]such job."}))
    result = run("watch", JOB)
    assert result.exit_code == code
    assert result.stderr.strip() == "readalong: There is no [bold]such job."
    assert len(api.requests) == 1


def test_restarted_begins_again_below_a_rule(api: ScriptedApi, run: Run) -> None:
    """A new attempt is a rule on stderr; the text starts again."""
    api.acts.append(
        stream(text(1, "old"), event(2, "restarted", attempt=2, reason="worker_lost"), text(3, "new"), done(4))
    )
    result = run("watch", JOB)
    assert result.stdout == "oldnew"
    assert "restarted (attempt 2: worker_lost)" in result.stderr


def test_failed_is_told_with_its_code(api: ScriptedApi, run: Run) -> None:
    """A failed job: message and code on stderr, exit code 1."""
    error = {"code": "model_cut", "message": "The model broke [off].", "retryable": True}
    api.acts.append(stream(text(1, "a"), event(2, "failed", error=error, content="a", metrics={})))
    result = run("watch", JOB)
    assert result.exit_code == 1
    assert result.stderr == "failed: The model broke [off]. (model_cut; a new job may succeed)\n"


def test_cancelled_is_exit_code_3(api: ScriptedApi, run: Run) -> None:
    """A cancelled job: who did it on stderr. Its exit code is not that of misuse."""
    api.acts.append(stream(event(1, "cancelled", content="", by="client", metrics={"total_seconds": 3})))
    result = run("watch", JOB)
    assert result.exit_code == 3
    assert result.stderr == "cancelled by client · 3.0 s in all\n"


def test_the_end_of_an_ended_job_is_its_status(api: ScriptedApi, run: Run) -> None:
    """A 204 means that nothing follows: the exit code is that of the job's end."""
    api.acts += [answer(204), answer(200, {"status": "cancelled"})]
    result = run("watch", JOB, "--after", "9")
    assert result.exit_code == 3
    assert result.stderr == "cancelled; no events after 9\n"


def test_calls_are_shown_in_a_readable_way(api: ScriptedApi, run: Run) -> None:
    """Tool calls and function calls are a line each on stderr; broken arguments say so."""
    api.acts.append(
        stream(
            event(1, "tool_call_delta", index=0, arguments='{"ci'),
            event(2, "tool_call", index=0, id="c1", name="weather", arguments={"city": "Köln"}),
            event(3, "tool_call", index=1, id="c2", name="time", arguments="{oh", arguments_error="unexpected end"),
            event(4, "function_call", name="legacy", arguments={}),
            done(5, finish_reason="tool_calls"),
        )
    )
    result = run("watch", JOB)
    assert result.stdout == ""
    assert result.stderr.splitlines()[:3] == [
        'tool call weather({"city":"Köln"})',
        "tool call time: invalid JSON as arguments (unexpected end): {oh",
        "function call legacy({})",
    ]


def test_reasoning_refusal_and_other_choices_stay_off_stdout(api: ScriptedApi, run: Run) -> None:
    """stdout is the first choice's text; thoughts, refusals and other choices are on stderr."""
    api.acts.append(
        stream(
            event(1, "reasoning", content="Hm, "),
            event(2, "reasoning", content="well"),
            text(3, "first"),
            text(4, "second", choice=1),
            event(5, "refusal", content="No."),
            done(6),
        )
    )
    result = run("watch", JOB)
    assert result.stdout == "first"
    assert "reasoning: Hm, well\n" in result.stderr
    assert "refusal: No.\n" in result.stderr
    assert "choice 1" in result.stderr
    assert "second\n" in result.stderr


def test_an_id_may_begin_with_a_minus(api: ScriptedApi, run: Run) -> None:
    """Ids are random: one in 64 begins with a minus and is no option."""
    api.acts += [stream(done(1)), answer(202, {"status": "cancelled"})]
    assert run("watch", "-abcdefghijklmnopqrstu").exit_code == 0
    assert run("cancel", "--bcdefghijklmnopqrstu").exit_code == 0
    assert [path for _, path, _, _ in api.requests] == [
        "/v1/jobs/-abcdefghijklmnopqrstu/events",
        "/v1/jobs/--bcdefghijklmnopqrstu/cancel",
    ]


@pytest.mark.parametrize("job", ["..", ".", "", "../../x", "a" * 22 + "/../../x"])
def test_no_id_leads_to_another_path(api: ScriptedApi, run: Run, job: str) -> None:
    """An id that would lead out of /v1/jobs is refused or quoted."""
    api.acts.append(answer(404, {"detail": "no"}))
    assert run("watch", job).exit_code == (4 if len(job) > 22 else 2)
    assert api.asked() in ([], [f"/v1/jobs/{'a' * 22}%2F..%2F..%2Fx/events"])


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://", "http://[::1", "http://x:99999999", ""])
def test_a_url_that_is_none_is_one_line(run: Run, url: str) -> None:
    """A wrong --url is a line that shows it, exit code 2."""
    result = run("watch", JOB, "--url", url)
    assert result.exit_code == 2
    assert "is not the URL of an API" in result.stderr


def test_something_else_at_the_url_is_told(api: ScriptedApi, run: Run) -> None:
    """An answer that is no event stream, or no JSON object, is one line."""
    api.acts += [answer(200, {}), answer(200)]
    assert "does not answer like a readalong API" in run("watch", JOB).stderr
    assert "does not answer like a readalong API" in run("jobs").stderr


def test_ask_submits_and_watches(api: ScriptedApi, run: Run) -> None:
    """`ask` posts the question, names the job on stderr and shows the answer."""
    api.acts += [answer(202, {"id": JOB, "status": "queued"}), stream(text(1, "Because."), done(2))]
    result = run("ask", "Why?", "--model", "demo")
    assert result.stdout == "Because."
    assert result.stderr.startswith(f"job {JOB}\n")
    body = orjson.loads(api.requests[0][3])
    assert body == {"messages": [{"role": "user", "content": "Why?"}], "model": "demo"}
    assert api.requests[1][1] == f"/v1/jobs/{JOB}/events"


def test_a_refused_question_is_one_line(api: ScriptedApi, run: Run) -> None:
    """A full queue is the API's own sentence, exit code 1."""
    api.acts.append(answer(429, {"code": "queue_full", "detail": "10 jobs wait already."}, retry_after="1"))
    result = run("ask", "Why?")
    assert result.exit_code == 1
    assert result.stderr == "readalong: 10 jobs wait already.\n"


@contextmanager
def watch_process(api: ScriptedApi, hold: threading.Event) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Starts `readalong watch`; yields the process and its stdout. At the end, sets `hold` and kills the process."""
    words = [sys.executable, "-m", "readalong.cli", "watch", JOB, "--url", api.url]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            hold.set()
            process.kill()


def test_ctrl_c_ends_the_watching_and_never_the_job(api: ScriptedApi) -> None:
    """SIGINT: exit code 130, a note how to go on, and no cancel."""
    hold = threading.Event()
    api.acts.append(stream(text(1, "so far"), hold=hold))
    with watch_process(api, hold) as (process, output):
        assert output.read(6) == b"so far"
        process.send_signal(signal.SIGINT)
        _, notes = process.communicate(timeout=120)
    assert process.returncode == 130
    assert notes.decode() == f"stopped watching; the job goes on. To resume: watch {JOB} --after 1\n"
    assert [method for method, *_ in api.requests] == ["GET"]


def test_a_reader_that_goes_away_ends_the_watching(api: ScriptedApi) -> None:
    """`readalong watch … | head` ends without a traceback."""
    hold = threading.Event()
    pieces = [text(seq, "x" * 1000 + "\n") for seq in range(1, 400)]
    api.acts.append(stream(*pieces, hold=hold))
    with watch_process(api, hold) as (process, output):
        output.read(6)
        output.close()
        assert process.stderr is not None
        notes = process.stderr.read()
    assert notes == b""
