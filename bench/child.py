"""One measured process: `python -m bench.child ROLE PORT`. It ends with the process that started it.

The roles are `api`, `worker`, and the modules of this package that have a `run(port)`. Each imports only its own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module
from typing import Final

from readalong.settings import load

ROLES: Final = ("api", "worker", "clock_model", "direct", "stock")


def main(role: str, port: int) -> int:
    """Runs until SIGTERM; answers the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if role == "api":
        return int(import_module("api.server").run(load(), host="127.0.0.1", port=port, processes=1))
    if role == "worker":
        return int(import_module("worker.main").run(load()))
    return int(import_module(f"bench.{role}").run(port))


def _end_with_parent() -> None:
    """The other end of stdin closes however the parent dies; without this a killed run leaves servers behind."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
