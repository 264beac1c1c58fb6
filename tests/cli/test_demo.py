"""The whole demo: real processes, real sockets, and every way to end it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import httpx2
import pytest
import redis

from tests.cli.processes import members, wait_for
from tests.support.servers import RedisServer

MODEL = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
ASK = {"messages": [{"role": "user", "content": "How did this get here?"}]}


class RunningDemo:
    """A demo in its own session, as in a terminal. `out` and `err` are its lines so far."""

    def __init__(
        self, folder: Path, *words: str, program: tuple[str, ...], terminal: int | None = None, **environment: str
    ) -> None:
        """`terminal`: its stdin and stderr."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("READALONG") and name not in MODEL
        }
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, *program, "demo", "--port", "0", *words],
            stdin=terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if terminal is None else terminal,
            text=True,
            start_new_session=True,
            env={**kept, "TMPDIR": str(self.temporary), **environment},
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers: list[threading.Thread] = []
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            if stream is None:
                continue
            thread = threading.Thread(target=_collect, args=(stream, lines))
            thread.start()
            self._readers.append(thread)

    def until_ready(self) -> None:
        wait_for(lambda: "Ctrl-C ends it" in self.out or self.process.poll() is not None)
        assert self.process.poll() is None, self.err

    def line(self, name: str) -> str:
        """Returns the text after this word at the start of a line."""
        (line,) = [line for line in self.out if line.startswith(f"{name} ")]
        return line.removeprefix(name).strip()

    def told(self, name: str) -> bool:
        """Returns whether stderr has a line about this process."""
        return any(line.startswith(f"{name} ") for line in self.err)

    @property
    def url(self) -> str:
        return self.line("page").rstrip("/")

    @property
    def pids(self) -> dict[str, int]:
        return {name: int(pid) for name, pid in re.findall(r"(\w+) (\d+)", self.line("processes"))}

    @property
    def group(self) -> int:
        return os.getpgid(self.pids["API"])

    def code(self, seconds: float = 120) -> int:
        """Returns the exit code, after all lines have been read."""
        code = self.process.wait(seconds)
        for thread in self._readers:
            thread.join(seconds)
        return code


def _collect(stream: IO[str], lines: list[str]) -> None:
    with stream:
        lines.extend(line.rstrip("\n") for line in stream)


Start = Callable[..., RunningDemo]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a demo. Fails if a process or a file of it is left after the test."""
    demos: list[RunningDemo] = []
    groups: list[int] = []

    def start(
        *words: str,
        ready: bool = True,
        program: tuple[str, ...] = ("-m", "readalong.cli"),
        terminal: int | None = None,
        **environment: str,
    ) -> RunningDemo:
        demo = RunningDemo(tmp_path, *words, program=program, terminal=terminal, **environment)
        demos.append(demo)
        if ready:
            demo.until_ready()
            groups.append(demo.group)
        return demo

    yield start
    for demo in demos:
        left_running = demo.process.poll() is None
        demo.process.kill()
        demo.code()
        assert not left_running, "the test did not end its demo"
        assert list(demo.temporary.iterdir()) == []
    for group in groups:
        wait_for(partial(_empty, group))


@contextmanager
def watching(url: str, **body: object) -> Iterator[Iterator[str]]:
    """Posts to /chat/stream and yields the lines of the response."""
    with (
        httpx2.Client(trust_env=False, verify=False, timeout=120) as client,
        client.stream("POST", f"{url}/chat/stream", json={**ASK, **body}) as response,
    ):
        assert response.status_code == 200
        yield response.iter_lines()


def first_words(lines: Iterator[str]) -> None:
    assert "content" in next(line for line in lines if line.startswith("data:"))


def call(demo: RunningDemo, *words: str) -> str:
    """Runs a command against the demo and returns its stdout."""
    command = [sys.executable, "-m", "readalong.cli", *words, "--url", demo.url]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def assert_ends_in_order(demo: RunningDemo, number: signal.Signals) -> None:
    """Sends a signal to the terminal's group in mid-stream: the streams end, then all processes, with exit code 0."""
    before = len(demo.err)
    with watching(demo.url, model="demo-endless") as lines:
        first_words(lines)
        os.killpg(demo.process.pid, number)
        assert "data: [DONE]" not in list(lines)  # the stream ends properly, and not as if the answer were complete
    assert demo.code() == 0
    assert demo.err[-1] == "ended; nothing is left running"
    assert not any("killed" in line for line in demo.err[before:]), demo.err


@pytest.mark.slow
def test_ctrl_c_ends_all_in_order(start: Start) -> None:
    assert_ends_in_order(start(), signal.SIGINT)


@pytest.mark.slow
def test_what_it_prints_works_and_a_sigterm_ends_all_in_order(start: Start) -> None:
    """The curl line streams, its socket answers, to its user alone, its model answers too; watch, jobs and cancel find
    the job, pids are right."""
    demo = start()
    found = re.search(r"-d '(.*)'", demo.line("try"))
    assert found is not None
    body = json.loads(found[1])
    assert f"curl -N {demo.url}/chat/stream" in demo.line("try")
    with watching(demo.url, **body, demo={"tokens": 5, "tokens_per_second": 0}) as lines:
        assert [line for line in lines if line][-1] == "data: [DONE]"
    path = Path(demo.line("redis").removeprefix("redis-cli -s "))
    with redis.Redis(unix_socket_path=str(path), decode_responses=True) as client:
        assert client.config_get("port", "save") == {"port": "0", "save": ""}
    assert [stat.S_IMODE(one.stat().st_mode) for one in (path.parent, path)] == [0o700, 0o700]
    for url in (f"{demo.line('model')}/models", demo.line("inspector")):
        assert httpx2.get(url, trust_env=False, verify=False).is_success
    (job,) = [json.loads(line) for line in call(demo, "jobs", "--json").splitlines()]
    assert (job["status"], job["model"]) == ("done", "demo")
    assert len(call(demo, "watch", job["id"])) > 5
    assert call(demo, "cancel", job["id"]) == "done\n"
    assert job["worker"]["pid"] == demo.pids["worker"]
    assert f"kill -9 {demo.pids['worker']} " in demo.line("kill") + " "
    assert set(demo.pids) == {"Valkey", "model", "worker", "API"}
    assert_ends_in_order(demo, signal.SIGTERM)


@pytest.mark.slow
def test_the_models_key_is_the_workers_alone_and_asking_for_reports_ends_nothing(start: Start) -> None:
    """The environment of each process at its start, and SIGUSR1 to each; only the API's processes have a report."""
    demo = start("--processes", "2", OPENAI_ORG_ID="s3cret", AZURE_OPENAI_AD_TOKEN="s3cret")
    pids = [int(line.split()[0]) for line in members(demo.group)]
    assert set(demo.pids.values()) < set(pids)
    if sys.platform == "linux":
        born = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in pids}
        told = [pid for pid in pids if b"OPENAI_" in born[pid] or b"s3cret" in born[pid]]
        assert told == [demo.pids["worker"]]
        assert [name for name in ("Valkey", "model") if b"READALONG_" in born[demo.pids[name]]] == []
    for pid in [demo.process.pid, *pids]:
        os.kill(pid, signal.SIGUSR1)
    with watching(demo.url, demo={"tokens": 5, "tokens_per_second": 0}) as lines:
        assert [line for line in lines if line][-1] == "data: [DONE]"
    assert sorted(pids) == sorted(int(line.split()[0]) for line in members(demo.group))
    assert_ends_in_order(demo, signal.SIGTERM)


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_all_in_order(start: Start) -> None:
    """The kernel sends SIGHUP. The demo's output has no reader; its exit code is still 0."""
    ours, its = os.openpty()
    controlled = (
        "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from readalong.cli.start import main; main()"
    )
    demo = start(program=("-c", controlled), terminal=its)
    os.close(its)
    with watching(demo.url) as lines:
        first_words(lines)
        os.close(ours)
        assert "data: [DONE]" not in list(lines)
    assert demo.code() == 0


@pytest.mark.slow
def test_nothing_outlives_a_demo_that_is_killed(start: Start) -> None:
    """SIGKILL of the demo in the middle of a stream: every process ends within seconds."""
    demo = start()
    with watching(demo.url) as lines:
        first_words(lines)
        group = demo.group
        demo.process.kill()
        wait_for(lambda: not members(group))
    assert demo.code() == -signal.SIGKILL


@pytest.mark.slow
def test_a_killed_worker_is_replaced_its_job_goes_on_and_a_sighup_ends_all_in_order(start: Start) -> None:
    """kill -9 of the worker in mid-stream: a new worker, reported in one line, goes on in a second attempt."""
    demo = start()
    with httpx2.Client(base_url=demo.url, trust_env=False, verify=False, timeout=120) as client:
        job = client.post("/v1/jobs", json={**ASK, "model": "demo-endless"}).json()["id"]
        wait_for(lambda: client.get(f"/v1/jobs/{job}").json()["content"])
        os.kill(demo.pids["worker"], signal.SIGKILL)
        wait_for(lambda: (shown := client.get(f"/v1/jobs/{job}").json())["attempt"] == 2 and shown["content"])
    assert f"worker (pid {demo.pids['worker']}) was killed by signal 9 (Killed); started again as pid" in demo.err[0]
    assert_ends_in_order(demo, signal.SIGHUP)


@pytest.mark.slow
def test_each_process_that_is_killed_comes_back_where_it_was(start: Start) -> None:
    """API, model and Valkey, in mid-stream: one line each, and the same addresses answer afterwards. A watcher survives
    the API's death."""
    demo = start("--processes", "2")
    with httpx2.Client(trust_env=False, verify=False, timeout=120) as client:
        request = {**ASK, "demo": {"tokens": 90, "tokens_per_second": 30}}
        job = client.post(f"{demo.url}/v1/jobs", json=request).json()["id"]
        words = [sys.executable, "-m", "readalong.cli", "watch", job, "--url", demo.url]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as watcher:
            assert watcher.stdout is not None
            watcher.stdout.read(1)
            os.kill(demo.pids["API"], signal.SIGKILL)
            watcher.stdout.read()
            assert watcher.wait(120) == 0
        # A forked process of the killed API may have served the watcher's last part.
        wait_for(partial(demo.told, "API"))
        wait_for(lambda: _answers(client, f"{demo.url}/healthz"))
        for name in ("model", "Valkey"):
            with watching(demo.url, model="demo-endless") as lines:
                first_words(lines)
                os.kill(demo.pids[name], signal.SIGKILL)
                wait_for(partial(demo.told, name))
        wait_for(lambda: client.get(f"{demo.url}/readyz").status_code == 200)
        wait_for(lambda: _answers(client, f"{demo.line('model')}/models"))
    with watching(demo.url, demo={"tokens": 5, "tokens_per_second": 0}) as lines:
        assert [line for line in lines if line][-1] == "data: [DONE]"
    told = [line for line in demo.err if "started again as pid" in line]
    assert [line.split()[0] for line in told] == ["API", "model", "Valkey"]
    assert told[2].endswith("; its jobs are lost: it keeps them in memory only")
    assert_ends_in_order(demo, signal.SIGTERM)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once(start: Start) -> None:
    """The second signal does not wait for a worker that drains for ten minutes. Exit code 130."""
    demo = start(READALONG_DRAIN_TIMEOUT="600")
    with httpx2.Client(base_url=demo.url, trust_env=False, verify=False, timeout=120) as client:
        job = client.post("/v1/jobs", json={**ASK, "model": "demo-endless"}).json()["id"]
        wait_for(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "running")
    api = demo.pids["API"]
    group = demo.group
    demo.process.send_signal(signal.SIGINT)
    wait_for(lambda: not any(line.startswith(f"{api} ") for line in members(group)))
    demo.process.send_signal(signal.SIGINT)
    assert demo.code() == 130


def test_a_signal_while_it_starts_ends_it(start: Start) -> None:
    """Ctrl-C before it is up: exit code 0, nothing printed as if it were up."""
    demo = start(ready=False)
    wait_for(lambda: _children(demo.process.pid))
    demo.process.send_signal(signal.SIGINT)
    assert demo.code() == 0
    assert demo.out == []
    assert _children(demo.process.pid) == []


def test_a_taken_port_is_one_line_and_nothing_is_started(start: Start) -> None:
    """The port is checked before any process starts: one line that names it, exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        demo = start("--port", str(port), ready=False)
        assert demo.code() == 1
    assert demo.err == [
        f"readalong: cannot listen on 127.0.0.1:{port}: Address already in use; choose another port with --port"
    ]


@pytest.mark.slow
def test_a_port_that_is_taken_meanwhile_is_the_apis_own_words(start: Start) -> None:
    """A port that is taken after the check: the API's line about it, exit code 1, nothing left."""
    lines = (
        "from readalong.cli import main",
        "from readalong.cli.demo import demo",
        "usable = demo.usable_port",
        # The model keeps a port that is free.
        "demo.usable_port = lambda host, port: port or usable(host, port)",
        "main.app()",
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        demo = start("--port", str(port), ready=False, program=("-c", "\n".join(lines)))
        assert demo.code() == 1
    assert f"  readalong: cannot listen on 127.0.0.1:{port}: Address already in use" in demo.err


@pytest.mark.slow
def test_a_model_that_cannot_be_used_is_the_workers_own_words(start: Start) -> None:
    """A half-set Azure: the worker's line about it, exit code 1, nothing left."""
    demo = start(ready=False, AZURE_OPENAI_API_KEY="s3cret")
    assert demo.code() == 1
    assert any("AZURE_OPENAI_ENDPOINT" in line for line in demo.err)
    assert "s3cret" not in "".join(demo.err + demo.out)


@pytest.mark.parametrize("redis_server", ["valkey"], indirect=True)  # the server's brand is not the subject
@pytest.mark.slow
def test_a_redis_of_ones_own_is_used_and_left_alone(start: Start, redis_server: RedisServer) -> None:
    """READALONG_REDIS_URL: no Valkey is started, the printed line names that Redis, and its jobs survive the demo."""
    demo = start(READALONG_REDIS_URL=redis_server.url)
    assert set(demo.pids) == {"model", "worker", "API"}
    assert demo.line("redis") == f"redis-cli -u {redis_server.url}"
    with watching(demo.url, demo={"tokens": 3, "tokens_per_second": 0}) as lines:
        assert [line for line in lines if line][-1] == "data: [DONE]"
    group = demo.group
    demo.process.kill()
    wait_for(lambda: not members(group))
    assert redis_server.command("ZCARD", "readalong:jobs") == 1


def test_a_redis_that_is_away_is_one_line(start: Start) -> None:
    """The line names the address without its password, exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    demo = start(ready=False, READALONG_REDIS_URL=f"redis://:s3cret@127.0.0.1:{port}/0")
    assert demo.code() == 1
    (line,) = demo.err
    assert f"redis://:***@127.0.0.1:{port}/0" in line
    assert "Redis does not answer" in line


def _answers(client: httpx2.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx2.TransportError:
        return False


def _empty(group: int) -> bool:
    return not members(group)


def _children(pid: int) -> list[str]:
    table = subprocess.run(["ps", "-A", "-o", "ppid=,stat=,pid="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in table.stdout.splitlines()]
    return [row[2] for row in rows if int(row[0]) == pid and not row[1].startswith("Z")]
