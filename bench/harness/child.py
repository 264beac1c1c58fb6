"""One measured process: `python -m bench.harness.child ROLE PORT`. It ends with the process that started it.

The roles are `api`, `worker`, and the modules of this package that have a `run(port)`. Each imports only its own.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from importlib import import_module
from typing import Final

from readalong.core.settings import load

MODULES: Final = {
    "clock_model": "bench.load.clock_model",
    "readers": "bench.load.readers",
    "direct": "bench.contenders.direct",
    "floor": "bench.contenders.floor",
    "naive": "bench.contenders.naive",
    "stock": "bench.contenders.stock",
}
ROLES: Final = ("api", "worker", *MODULES)


def main(role: str, port: int) -> int:
    """Runs until SIGTERM; returns the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    allow_many_files()
    if role == "api":
        return int(import_module("readalong.api.server").run(load(), host="127.0.0.1", port=port, processes=1))
    if role == "worker":
        return int(import_module("readalong.worker.main").run(load()))
    return int(import_module(MODULES[role]).run(port))


def allow_many_files() -> None:
    """Raises the limit of open files: a thousand watchers need more sockets than some systems allow by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _end_with_parent() -> None:
    """Ends this process when its stdin closes, as it does however the parent dies; a killed run would leave servers
    behind.
    """
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
