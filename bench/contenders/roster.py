"""All contenders of the fan-out."""

from __future__ import annotations

from typing import Final

from bench.contenders import floor, naive, nchan, readalong_api, resumable
from bench.contenders.contender import Contender, nothing

CONTENDERS: Final = (
    Contender("readalong", nothing, readalong_api.start),
    Contender("nchan", nchan.missing, nchan.start),
    Contender("resumable-stream", resumable.missing, resumable.start),
    Contender("subscription a client", nothing, naive.start),
    Contender("write(2)", nothing, floor.start),
)


def versions() -> dict[str, str]:
    """Returns the versions of the contenders that are no Python packages."""
    found = {}
    if not nchan.missing():
        found["nginx"] = nchan.version()
    if not resumable.missing():
        found |= {"node": resumable.node_version(), "resumable-stream": resumable.version()}
    return found
