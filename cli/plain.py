"""Text of others made harmless for a terminal."""

from __future__ import annotations

from typing import Final

# ESC starts the sequences that move the cursor, rename the window or paste; C1 codes do the same in eight bits; a bare
# CR overwrites what stands there. Each becomes a picture of itself. Directional overrides would show text backwards.
_HARMLESS: Final[dict[int, int]] = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def harmless(text: str) -> str:
    """`text` with every control character but newline and tab made visible, so that it cannot steer a terminal."""
    return text.translate(_HARMLESS)


def one_line(text: str, length: int = 300) -> str:
    """`text` on one line, harmless, and at most `length` characters long."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= length else line[: length - 1] + "…"
