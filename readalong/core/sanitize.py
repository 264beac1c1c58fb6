"""Text of others made harmless for a terminal: what a job, a client, a model server or Redis sent."""

from __future__ import annotations

import re
from typing import Final

# ESC starts the sequences that move the cursor, rename the window or paste; C1 codes do the same in eight bits; a bare
# CR overwrites what stands there. Bidirectional controls show text in another order than it has.
_CONTROLS: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_CONTROL: Final = re.compile(f"[{_CONTROLS}]")


def harmless(text: str) -> str:
    """Returns `text` with every control but newline and tab made visible, so that it cannot steer a terminal."""
    return _CONTROL.sub(_picture, text)


def harmless_line(text: str) -> str:
    """Returns the same with newlines made visible too: text of others cannot add a line to a log."""
    return harmless(text).replace("\n", "\u240a")


def escaped_json(text: str) -> str:
    """Returns the JSON `text` with controls as `\\u` escapes. It means the same: they can stand in strings only."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"
