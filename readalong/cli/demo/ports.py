"""A port to listen on."""

from __future__ import annotations

import random
import socket
from typing import Final

from readalong.cli.errors import CliError

#: Below the ephemeral ports: from 32768 on Linux, from 49152 on macOS. An outgoing connection could take an ephemeral
#: port that is picked and not bound yet, or whose process is being restarted.
_RANGE: Final = range(15_000, 32_000)


def usable_port(host: str, port: int) -> int:
    """Returns `port`, or any free port for 0. Raises CliError if no server could listen there now."""
    for candidate in [port] if port else random.sample(_RANGE, 100):
        try:
            # As servers do: connections of a server that has just ended do not make a port taken.
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, candidate), family=family).close()
            return candidate
        except OSError as error:
            reason = str(error.strerror or error).partition(" (while")[0]
    raise CliError(f"cannot listen on {host}:{candidate}: {reason}; choose another port with --port")
