"""A job as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from readalong.core.states import TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`content` and what belongs to it are None in a list and in the response to a submit or a cancel."""

    id: str
    status: str
    model: str | None = None
    attempt: int = 0
    last_seq: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    waiting_for: str | None = None
    content: str | None = None
    finish_reason: str | None = None
    #: Of a failed job: `code`, `message`, `retryable`.
    error: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: The whole JSON object, with the fields that have no name here.
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        """Whether its status is `done`, `failed` or `cancelled`."""
        return self.status in TERMINAL

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Job:
        """Reads the JSON object. A field of another type than documented counts as missing."""
        return cls(
            id=_text(fields, "id") or "",
            status=_text(fields, "status") or "",
            model=_text(fields, "model"),
            attempt=_integer(fields, "attempt"),
            last_seq=_integer(fields, "last_seq"),
            created_at=_time(fields, "created_at"),
            started_at=_time(fields, "started_at"),
            ended_at=_time(fields, "ended_at"),
            waiting_for=_text(fields, "waiting_for"),
            content=_text(fields, "content"),
            finish_reason=_text(fields, "finish_reason"),
            error=_object(fields, "error"),
            usage=_object(fields, "usage"),
            metrics=_object(fields, "metrics"),
            metadata=_object(fields, "metadata") or {},
            fields=fields,
        )


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if isinstance(value, int) else 0


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = fields.get(name)
    return value if isinstance(value, dict) else None


def _time(fields: Mapping[str, Any], name: str) -> datetime | None:
    text = _text(fields, name)
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
