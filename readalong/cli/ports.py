"""Free and taken ports."""

from __future__ import annotations

import random
import socket
from typing import Final

from readalong.cli.problem import Problem

#: Below the range from which systems take the near end of outgoing connections: Linux from 32768, macOS from 49152.
#: There any connection could take a port that is picked and not bound yet, or whose process is being started again.
_RANGE: Final = range(15_000, 32_000)


def usable_port(host: str, port: int) -> int:
    """Returns `port`, for 0 any free one. Raises Problem if no server could listen there now."""
    for candidate in [port] if port else random.sample(_RANGE, 100):
        try:
            # As servers do: connections of a server that has just ended do not count as a taken port.
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            socket.create_server((host, candidate), family=family).close()
            return candidate
        except OSError as error:
            reason = str(error.strerror or error).partition(" (while")[0]
    raise Problem(f"cannot listen on {host}:{candidate}: {reason}; another one: --port")
