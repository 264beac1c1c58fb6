"""Where the model is and what opens it, from the openai package's own variables, each looked at before it is used.

A key that no header can hold would otherwise fail every job, and with the library's words for it.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from readalong.errors import BadSettings

_QUOTES: Final = "\"'`"
#: What a header and an address may hold: printable ASCII without blanks.
_PLAIN: Final = re.compile(r"[!-~]+")


def variable(name: str) -> str | None:
    """The variable without the blanks around it; None if it is not set. Raises BadSettings, which does not tell it."""
    value = os.environ.get(name, "").strip()
    if not value:
        return None
    if any(quote in value for quote in _QUOTES):
        raise BadSettings(f"{name}: has quotes in it; set it without them")
    if not _PLAIN.fullmatch(value):
        raise BadSettings(f"{name}: has a line break, a blank or a character in it that no HTTP header may hold")
    return value


def address(name: str) -> str | None:
    """The variable, an http:// or https:// address; None if it is not set. Raises BadSettings."""
    value = variable(name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise BadSettings(f"{name}: must be an address with a scheme and a host, such as http://127.0.0.1:8000/v1")
    return value
