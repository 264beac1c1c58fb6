"""Free and taken ports."""

from __future__ import annotations

import errno
import random
import socket
from typing import Final

#: Below the range from which systems take the near end of outgoing connections: Linux from 32768, macOS from 49152.
#: There any connection of anybody could take a port that we have picked and not bound yet; even our own knocking at it.
_RANGE: Final = range(15_000, 32_000)
_TRIES: Final = 1000


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that was free a moment ago; a server may take it before it is used.

    Raises OSError for a host that is not this machine's, or if there is none.
    """
    for _ in range(_TRIES):
        port = random.choice(_RANGE)
        try:
            _bound(host, port).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise OSError(errno.EADDRINUSE, f"no free port in {_TRIES} tries")


def why_not(host: str, port: int) -> str | None:
    """Why nobody could listen on `host:port` now; None if one could."""
    try:
        with _bound(host, port) as sock:
            sock.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    except OverflowError:
        return "ports go from 0 to 65535"
    return None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        # As servers do: connections of a server that has just ended must not count as a taken port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock
