"""The demo: which processes, in which order, and what is printed."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

from rich.text import Text

from cli.child import Child
from cli.household import Household
from cli.ports import free_port, why_not
from cli.problem import Problem
from cli.reach import configured, stranger, without_model
from cli.terminal import Terminal
from cli.valkey import start_valkey
from readalong.settings import Settings
from readalong.signals import ending_signals

#: Who ends first: the API, so that streams end while there is something to say; Redis when nobody needs it any more.
_ORDER: Final = ("api", "worker", "model", "valkey")
#: Seconds that the model, and then API and worker, may take until they answer.
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
#: Seconds beyond a worker's drain time until it is killed.
_DRAIN_SPARE: Final = 5.0
#: Seconds that the processes have to end by themselves when the demo was killed and the Redis is not its own.
_ORPHAN_SECONDS: Final = 10.0


#: How the model says that it is there, and where.
_MODEL_LINE: Final = "demo model on "

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the person asked for. Port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    processes: int = 1
    verbose: bool = False


class Demo:
    """One run of the demo. `run` answers the exit code: 0 after a signal, 1 when something failed."""

    def __init__(self, settings: Settings, wish: Wish, console: Terminal, notes: Terminal) -> None:
        self._settings = settings
        self._wish = wish
        self._console = console
        self._notes = notes
        self._port = wish.port
        self._environment = dict(os.environ, PYTHONUNBUFFERED="1")  # lines must not wait in a buffer for the next
        self._own_redis = "redis_url" not in settings.model_fields_set
        self._own_model = not configured(os.environ)
        if self._own_model and "model" not in settings.model_fields_set:
            self._environment["READALONG_MODEL"] = "demo"
        self._redis_line = _redis_cli(settings)

    async def run(self) -> int:
        """Runs until a signal, or until something fails. Raises Problem when it cannot start."""
        async with _signals() as signals:
            await self._check()
            household = Household(_ORDER, self._say, orphan_grace=0.0 if self._own_redis else _ORPHAN_SECONDS)
            # From the second signal on nothing is in order any more, only fast.
            signals.on_second = household.kill
            async with household:
                reason = await self._live(household, signals.first)
                if reason is None:
                    self._say("ending: API, worker, model, Redis, in this order; once more Ctrl-C: at once")
            if reason is not None:
                raise Problem(reason)
            if signals.count > 1:
                return 130
        self._say("ended; nothing is left running")
        return 0

    async def _live(self, household: Household, stop: asyncio.Event) -> str | None:
        """Starts everything and waits; answers why it must end, None if because of a signal. Raises Problem."""
        stopped = asyncio.create_task(stop.wait())
        starting = asyncio.create_task(self._start(household))
        end: list[asyncio.Future[Any]] = [stopped, household.failed]
        try:
            await asyncio.wait([starting, *end], return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and not stopped.done():
                starting.result()
                await asyncio.wait(end, return_when=asyncio.FIRST_COMPLETED)
        finally:
            starting.cancel()
            stopped.cancel()
            await asyncio.gather(starting, stopped, return_exceptions=True)
        # Processes that a Ctrl-C has reached after all end by themselves: that is no failure.
        return household.failed.result() if household.failed.done() and not stop.is_set() else None

    async def _check(self) -> None:
        """What can be known before anything is started. Raises Problem."""
        host = self._wish.host
        if (reason := why_not(host, self._port)) is not None:
            raise Problem(f"cannot listen on {host}:{self._port}: {reason}; another one: --port")
        if self._port == 0:
            self._port = free_port(host)
        if self._own_redis:
            return
        # Most of the demo's own start would go by in these imports.
        from readalong.connection import connect, translated  # noqa: PLC0415
        from readalong.errors import StoreUnavailable  # noqa: PLC0415

        async with connect(self._settings) as redis:
            try:
                with translated():
                    await redis.ping()
            except StoreUnavailable as error:
                raise Problem(f"{error.message} at {self._settings.safe_redis_url} (READALONG_REDIS_URL)") from None

    async def _start(self, household: Household) -> None:
        """Starts each process as early as it can be: most of the time goes by in their imports."""
        model = await self._start_model(household) if self._own_model else None
        if self._own_redis:
            await self._start_redis(household)
        host, port = self._wish.host, str(self._port)
        api = self._child(
            "api", "API", ["api", "--host", host, "--port", port, "--processes", str(self._wish.processes)]
        )
        api.vital = True
        await household.start(api)
        if model is not None:
            await self._use_model(model)
        workers = self._wish.workers
        for number in range(1, workers + 1):
            worker = self._child("worker", "worker" if workers == 1 else f"worker {number}", ["worker"])
            worker.grace = (0.0 if self._drains_at_once else self._settings.drain_timeout) + _DRAIN_SPARE
            worker.vital = worker.restarts = True
            await household.start(worker)
        await _within(self._until_ready(), "API and worker", household.children)
        household.settled = True
        self._print(sorted(household.children, key=lambda child: _ORDER.index(child.role)))

    async def _start_redis(self, household: Household) -> None:
        _, path = await start_valkey(household, stranger(self._environment))
        self._environment["READALONG_REDIS_URL"] = f"unix://{quote(path)}"
        self._redis_line = f"redis-cli -s {shlex.quote(path)}"
        if self._drains_at_once:
            # The queue ends with the demo: nobody is there to hand a stream over to.
            self._environment["READALONG_DRAIN_TIMEOUT"] = "0"
        if "lease" not in self._settings.model_fields_set:
            # Who kills a worker to see what happens should not have to wait for ten seconds.
            self._environment["READALONG_LEASE"] = "3"

    async def _start_model(self, household: Household) -> Child:
        model = self._child("model", "model", ["model", "--port", "0"])
        model.vital = True
        await household.start(model)
        return model

    async def _use_model(self, model: Child) -> None:
        """Waits until the model is there, and tells the processes that follow where it is."""
        line = await _within(model.line(_MODEL_LINE), "the model", [model])
        self._environment["OPENAI_BASE_URL"] = line.removeprefix(_MODEL_LINE)
        self._environment["OPENAI_API_KEY"] = "demo"

    @property
    def _drains_at_once(self) -> bool:
        return self._own_redis and "drain_timeout" not in self._settings.model_fields_set

    def _child(self, role: str, name: str, words: list[str]) -> Child:
        on_line = self._show_line if self._wish.verbose else (lambda _child, _line: None)
        # The key of the model is its callers' alone.
        environment = self._environment
        if role != "worker":
            environment = without_model(environment) if role == "api" else stranger(environment)
        return Child(role, name, [*own_command(), *words], environment, on_line=on_line)

    async def _until_ready(self) -> None:
        while await _status(_near(self._wish.host), self._port, "/readyz") != 200:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(_LOOK_SECONDS)

    def _print(self, children: list[Child]) -> None:
        url = _url(_near(self._wish.host), self._port)
        body = '{"messages":[{"role":"user","content":"How did this get here?"}]}'
        here = "" if url == "http://127.0.0.1:8000" else f" --url {url}"
        worker = next(child.pid for child in children if child.role == "worker")
        lines = {
            "page": f"{url}/",
            "try": f"curl -N {url}/chat/stream -H 'content-type: application/json' -d '{body}'",
            "watch": f"{shown_command()} watch JOB{here}",
            "jobs": f"{shown_command()} jobs{here}",
            "redis": self._redis_line,
            "processes": ", ".join(f"{child.name} {child.pid}" for child in children),
            "kill": f"kill -9 {worker}   (a worker: a new one goes on with its jobs within seconds)",
        }
        self._console.tell(Text("readalong is up", style="bold green"))
        for name, line in lines.items():
            self._console.tell(Text(f"{name:<11}", style="bold") + Text(line, style="cyan"))
        self._console.tell(Text("Ctrl-C ends it", style="bold"))

    def _say(self, line: str) -> None:
        self._notes.tell(Text(line, style="dim"))

    def _show_line(self, child: Child, line: str) -> None:
        self._notes.tell(Text(f"{child.name} | {line}", style="dim"))


def _redis_cli(settings: Settings) -> str:
    """How a person looks into the Redis of the settings; redis-cli takes no URL of a socket."""
    if settings.redis_socket is None:
        return f"redis-cli -u {shlex.quote(settings.safe_redis_url)}"
    database = settings.safe_redis_url.partition("?db=")[2]
    return f"redis-cli -s {shlex.quote(settings.redis_socket)}" + (f" -n {database}" if database else "")


def own_command() -> list[str]:
    """How this program was started, for its children: the console script, or `python -m cli`.

    Not always the latter: in a folder of the person's that holds a `cli` of its own, Python would run that one.
    """
    script = Path(sys.argv[0])
    if script.name == "readalong" and script.is_file():
        return [sys.executable, str(script.absolute())]
    return [sys.executable, "-m", "cli"]


def shown_command() -> str:
    """How a person starts this program from here."""
    if shutil.which("readalong"):
        return "readalong"
    script = Path(sys.argv[0])
    if script.name == "readalong" and script.is_file():
        return shlex.quote(str(script))
    return "python -m cli"


class _Signals:
    """Counts the signals that ask for the end."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.count = 0
        self.on_second: Callable[[], None] = lambda: None

    def take(self, number: int) -> None:
        if number == signal.SIGHUP and self.first.is_set():
            return  # a terminal that is closed sends it, and so may its shell: that is one wish
        self.count += 1
        self.first.set()
        if self.count > 1:
            self.on_second()


@asynccontextmanager
async def _signals() -> AsyncIterator[_Signals]:
    """The signals that ask for the end, a terminal that is closed among them."""
    loop = asyncio.get_running_loop()
    signals = _Signals()
    numbers = ending_signals()
    for number in numbers:
        loop.add_signal_handler(number, signals.take, number)
    try:
        yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        # The shell may send it once more, when all have ended.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _within(work: Awaitable[Answer], what: str, children: list[Child]) -> Answer:
    """Waits for `work`. Raises Problem with the children's last lines when it takes too long."""
    try:
        return await asyncio.wait_for(work, _READY_SECONDS)
    except TimeoutError:
        reports = "\n".join(child.report() for child in children)
        raise Problem(f"{what} did not get ready within {_READY_SECONDS:g} s\n{reports}") from None


async def _status(host: str, port: int, path: str) -> int | None:
    """The status of a GET; None if nobody answers."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
                words = (await reader.readline()).split()
            finally:
                writer.close()
            return int(words[1]) if len(words) > 1 else None
    except (OSError, ValueError):
        return None


def _near(host: str) -> str:
    """The address at which this machine itself reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
