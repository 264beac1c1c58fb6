"""The options of `readalong demo`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Port 0: any free port."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    processes: int = 1
    verbose: bool = False
