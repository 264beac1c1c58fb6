"""The demo: which processes run, in which order, and the lines that are printed."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from rich.text import Text

from readalong.cli.demo.managed_process import ManagedProcess
from readalong.cli.demo.options import DemoOptions
from readalong.cli.demo.ports import usable_port
from readalong.cli.demo.process_group import ProcessGroup
from readalong.cli.demo.programs import readalong_command, typed_command, valkey_program
from readalong.cli.errors import CliError
from readalong.cli.model_env import has_model, without_model, without_settings
from readalong.cli.render.terminal import Terminal
from readalong.core.redis_cli import redis_cli_command
from readalong.core.settings import Settings
from readalong.process.signals import ending_signals

#: Seconds until everything must be ready, and between two checks.
_READY_SECONDS: Final = 60.0
_CHECK_SECONDS: Final = 0.05
#: Seconds after a worker's drain time until the worker is killed.
_DRAIN_SPARE: Final = 5.0


class Demo:
    """One run of the demo."""

    def __init__(self, settings: Settings, options: DemoOptions, out: Terminal, err: Terminal) -> None:
        self._settings = settings
        self._options = options
        self._out = out
        self._err = err
        self._environment = dict(os.environ, PYTHONUNBUFFERED="1")  # a line must not wait in a buffer for the next one
        self._redis_cli = redis_cli_command(settings)
        self._model_url: str | None = None
        self._drain = settings.drain_timeout
        self._signals = 0
        self._kill: Callable[[], None] = lambda: None

    async def run(self) -> int:
        """Runs until a signal. Returns the exit code: 0, or 130 after a second signal. Raises CliError."""
        loop = asyncio.get_running_loop()
        #: Its result is the reason why everything must end, or None after a signal.
        self._end: asyncio.Future[str | None] = loop.create_future()
        numbers = ending_signals()
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            self._port = usable_port(self._options.host, self._options.port)
            async with ProcessGroup(self._say, self._end_with, self._show) as group:
                self._kill = group.kill
                await self._serve(group)
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
            # The shell may send one more, when all have ended.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._signals > 1:
            return 130
        self._say("ended; nothing is left running")
        return 0

    async def _serve(self, group: ProcessGroup) -> None:
        """Starts everything and returns after a signal. Raises CliError."""
        starting = asyncio.create_task(self._start(group))
        first: list[asyncio.Future[Any]] = [starting, self._end]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not self._end.done():
            await starting
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if (reason := await self._end) is not None:
            raise CliError(reason)
        self._say("ending: API, worker, model, Redis, in this order; Ctrl-C again: at once")

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP and self._signals:
            return  # a closed terminal sends one, and its shell may send another: both count once
        self._signals += 1
        self._end_with(None)
        if self._signals > 1:
            self._kill()

    def _end_with(self, reason: str | None) -> None:
        if not self._end.done():
            self._end.set_result(reason)

    async def _check_redis(self) -> None:
        """Raises CliError if the Redis of the settings does not answer."""
        # These imports would take most of the demo's own start.
        from readalong.core.errors import StoreUnavailable  # noqa: PLC0415
        from readalong.redis.client import connect, translated  # noqa: PLC0415

        async with connect(self._settings) as redis:
            try:
                with translated():
                    await redis.ping()
            except StoreUnavailable as error:
                raise CliError(f"{error.message} at {self._settings.safe_redis_url} (READALONG_REDIS_URL)") from None

    async def _start(self, group: ProcessGroup) -> None:
        """Starts everything at once: imports take most of the time, and each process waits for what it needs.

        Raises CliError.
        """
        options, environment = self._options, self._environment
        if "keep_request" not in self._settings.model_fields_set:
            environment["READALONG_KEEP_REQUEST"] = "true"  # so that a job can be shown whole, and be retried
        if "redis_url" in self._settings.model_fields_set:
            await self._check_redis()
        else:
            await self._start_valkey(group)
        if not has_model(environment):
            port = usable_port("127.0.0.1", 0)
            self._model_url = f"http://127.0.0.1:{port}/v1"
            command = [*readalong_command(), "model", "--port", str(port)]
            await group.start(ManagedProcess("model", "model", command, without_settings(environment)))
            environment |= {"OPENAI_BASE_URL": self._model_url, "OPENAI_API_KEY": "none-needed"}
            if "model" not in self._settings.model_fields_set:
                environment["READALONG_MODEL"] = "demo"
        for number in range(1, options.workers + 1):
            name = "worker" if options.workers == 1 else f"worker {number}"
            command = [*readalong_command(), "worker"]
            await group.start(ManagedProcess("worker", name, command, environment, self._drain + _DRAIN_SPARE))
        command = [*readalong_command(), "api", "--host", options.host, "--port", str(self._port)]
        command += ["--processes", str(options.processes)]
        # Only workers call the model: the API must not have its key.
        await group.start(ManagedProcess("api", "API", command, without_model(environment)))
        try:
            await asyncio.wait_for(self._until_ready(), _READY_SECONDS)
        except TimeoutError:
            reports = "\n".join(managed.report() for managed in group.processes)
            raise CliError(f"not ready within {_READY_SECONDS:g} s\n{reports}") from None
        group.restarts = True
        self._print(group.processes[::-1])

    async def _start_valkey(self, group: ProcessGroup) -> None:
        """Starts a Valkey on a socket in the group's folder.

        It has no port: neither another user of the machine nor a page in a browser can reach it. So it needs no
        password. The folder is removed at the end, with everything that was saved in it.
        """
        path = os.path.join(group.folder, "redis.sock")
        options = {"port": "0", "unixsocket": path, "unixsocketperm": "700", "dir": group.folder, "save": ""}
        command = [valkey_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]
        loss = "; its jobs are lost: it keeps them in memory only"
        await group.start(ManagedProcess("valkey", "Valkey", command, without_settings(self._environment), loss=loss))
        self._environment["READALONG_REDIS_URL"] = f"unix://{quote(path)}"
        self._redis_cli = f"redis-cli -s {shlex.quote(path)}"
        if "drain_timeout" not in self._settings.model_fields_set:
            # The queue ends with the demo: no other worker could take over a stream.
            self._environment["READALONG_DRAIN_TIMEOUT"] = "0"
            self._drain = 0.0
        if "lease" not in self._settings.model_fields_set:
            # A user who kills a worker should not wait ten seconds for the next attempt.
            self._environment["READALONG_LEASE"] = "3"

    async def _until_ready(self) -> None:
        import httpx2  # noqa: PLC0415  (the processes import in the meantime)

        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=2) as client:
            while True:
                with suppress(httpx2.TransportError):  # it does not listen yet
                    if (await client.get(f"{self._url}/readyz")).is_success:
                        return
                await asyncio.sleep(_CHECK_SECONDS)

    @property
    def _url(self) -> str:
        """The address of the API for this machine."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self._options.host, self._options.host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def _print(self, processes: list[ManagedProcess]) -> None:
        url = self._url
        body = '{"messages":[{"role":"user","content":"How did this get here?"}]}'
        here = "" if url == "http://127.0.0.1:8000" else f" --url {url}"
        command = typed_command()
        lines = {
            "page": f"{url}/",
            "inspector": f"{url}/inspect",
            "try": f"curl -N {url}/chat/stream -H 'content-type: application/json' -d '{body}'",
            "openai": f"{url}/v1   (base_url of OpenAI's SDKs; the AI SDK's useChat takes {url}/api/chat)",
            "watch": f"{command} watch JOB{here}",
            "jobs": f"{command} jobs{here}",
            "redis": self._redis_cli,
            "model": self._model_url,
            "processes": ", ".join(f"{managed.name} {managed.process.pid}" for managed in processes),
            "kill": f"kill -9 {next(managed.process.pid for managed in processes if managed.role == 'worker')}   "
            "(the worker: a new one starts and takes over its jobs; any other process is started again, too)",
        }
        self._out.say(Text("readalong is up", style="bold green"))
        for name, line in lines.items():
            if line is not None:
                self._out.say(Text(f"{name:<11}", style="bold") + Text(line, style="cyan"))
        self._out.say(Text("Ctrl-C ends it", style="bold"))

    def _say(self, line: str) -> None:
        self._err.say(Text(line, style="dim"))

    def _show(self, name: str, line: str) -> None:
        if self._options.verbose:
            self._say(f"{name} | {line}")
