"""The result of one check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Result = Literal["ok", "info", "warning", "critical", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """`detail`: what was seen. `action`: what to do."""

    name: str
    result: Result
    detail: str
    action: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
