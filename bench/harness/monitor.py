"""The Redis commands of clients, counted by MONITOR.

INFO's counters, and those of CLIENT LIST, count a script's own commands like a client's; MONITOR tells them apart. It
costs the server time, so nothing else is measured while it runs.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from typing import Final

import redis

_LINE: Final = re.compile(rb'^\+\d+\.\d+ \[\d+ ([^\]]+)\] "([^"]*)"', re.MULTILINE)
#: Commands that keep connections and workers alive, under any load.
IDLE: Final = frozenset({"ping", "hello", "client", "auth", "select", "info", "blpop", "monitor", "script"})


class Monitor:
    """`with Monitor(port) as monitor: …` and then `monitor.counts`."""

    def __init__(self, port: int) -> None:
        self.counts: Counter[str] = Counter()
        self._port = port
        self._pieces: list[bytes] = []

    def __enter__(self) -> Monitor:
        self._socket = socket.create_connection(("127.0.0.1", self._port), 10)
        self._socket.sendall(b"MONITOR\r\n")
        self._pieces = [self._socket.recv(5)]
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with redis.Redis(port=self._port) as client:
            client.ping()  # Redis replies in order, so all earlier lines are in our socket
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join()
        self._socket.close()
        self.counts = calls(b"".join(self._pieces))

    def _read(self) -> None:
        while piece := self._socket.recv(1 << 20):
            self._pieces.append(piece)


def calls(said: bytes) -> Counter[str]:
    """Returns the commands of clients by name, without those of scripts and those of IDLE."""
    found = Counter(name.decode().lower() for source, name in _LINE.findall(said) if source != b"lua")
    return Counter({name: count for name, count in found.items() if name not in IDLE})
