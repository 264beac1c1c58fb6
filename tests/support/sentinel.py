"""A primary, its replica, and a Sentinel that promotes the replica when the primary dies."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import redis

from tests.support.servers import RedisServer, free_port, valkey_binary
from tests.support.waiting import until

NAME = "mymaster"


class Trio(NamedTuple):
    """`port`: the port of the Sentinel."""

    primary: RedisServer
    replica: RedisServer
    port: int

    @property
    def primary_port(self) -> int:
        """Returns the primary's address according to the Sentinel."""
        found = ask(self.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        return int(found[1])


def ask(port: int, *words: str) -> Any:
    with redis.Redis(port=port, decode_responses=True, socket_timeout=60) as client:
        return client.execute_command(*words)


@asynccontextmanager
async def trio(password: str = "") -> AsyncIterator[Trio]:
    """Starts the three; a failover takes a second or two. `password`: required by the Sentinel."""
    with ExitStack() as exits:
        primary = exits.enter_context(RedisServer.start())
        replica = exits.enter_context(RedisServer.start())
        replica.command("REPLICAOF", "127.0.0.1", primary.port)
        await until(lambda: replica.command("INFO", "replication")["master_link_status"] == "up", "the replica")
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="readalong-sentinel-")))
        port = free_port()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {folder}/sentinel.log\n"
            + (f"requirepass {password}\n" if password else "")
            + f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {NAME} 500\nsentinel failover-timeout {NAME} 3000\n"
        )
        _launch(folder / "sentinel.conf", exits)
        if password:
            await until(lambda: _listens(port), "the Sentinel")
        else:  # the Sentinel looks for replicas every ten seconds
            await until(lambda: _sees_replica(port), "the Sentinel to see the replica")
        yield Trio(primary, replica, port)


def _launch(config: Path, exits: ExitStack) -> None:
    process = subprocess.Popen([valkey_binary(), str(config), "--sentinel"])
    exits.callback(process.wait)
    exits.callback(process.kill)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _sees_replica(port: int) -> bool:
    with suppress(redis.RedisError):  # the Sentinel does not listen yet
        return len(ask(port, "SENTINEL", "REPLICAS", NAME)) == 1
    return False
