"""Wire formats: each a pure function from an event to bytes, b"" for an event that it does not show."""

from __future__ import annotations

from collections.abc import Callable

from readalong.core.events import Event

Format = Callable[[Event], bytes]
