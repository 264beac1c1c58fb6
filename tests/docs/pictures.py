"""The pictures of `docs/how-it-works.md`, as SVG: `python -m tests.docs.pictures` writes them.

Each is a sequence: the parties, and what one tells another, from the top to the bottom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
_COLUMN: Final = 118
_ROW: Final = 34
_TOP: Final = 62

#: (from, to, text); from and to the same: a note.
Step = tuple[str, str, str]

PICTURES: Final[dict[str, tuple[str, tuple[str, ...], tuple[Step, ...]]]] = {
    "token": (
        "The way of a token",
        ("client A", "client B", "API", "Redis", "worker 1", "model"),
        (
            ("client A", "API", "POST /v1/jobs"),
            ("API", "Redis", "job, queue"),
            ("Redis", "worker 1", "wakes"),
            ("worker 1", "model", "asks"),
            ("model", "worker 1", "“Here”"),
            ("worker 1", "Redis", "append"),
            ("Redis", "Redis", "one script: 3 in the log, and published"),
            ("Redis", "API", "3"),
            ("API", "client A", "id: 3"),
            ("client B", "API", "GET …/events"),
            ("Redis", "API", "1, 2, 3 from the log"),
            ("API", "client B", "id: 1, 2, 3"),
            ("worker 1", "Redis", "append"),
            ("Redis", "API", "4"),
            ("API", "client A", "id: 4"),
            ("API", "client B", "id: 4"),
        ),
    ),
    "cancel": (
        "The way of a cancel",
        ("client A", "client B", "API", "Redis", "worker 1", "model"),
        (
            ("client B", "API", "POST …/cancel"),
            ("API", "Redis", "sets the flag"),
            ("API", "client B", "202"),
            ("Redis", "worker 1", "a nudge"),
            ("worker 1", "Redis", "append"),
            ("Redis", "worker 1", "the flag"),
            ("worker 1", "model", "closes"),
            ("worker 1", "Redis", "cancelled"),
            ("Redis", "API", "cancelled"),
            ("API", "client A", "cancelled"),
            ("API", "client B", "cancelled"),
        ),
    ),
    "lost-worker": (
        "The way of a lost worker",
        ("client A", "API", "Redis", "worker 1", "worker 2", "model"),
        (
            ("worker 1", "Redis", "append, attempt 1"),
            ("Redis", "API", "40"),
            ("API", "client A", "id: 40"),
            ("worker 1", "worker 1", "killed, or only paused"),
            ("Redis", "worker 2", "the lease is over"),
            ("worker 2", "Redis", "claims attempt 2"),
            ("Redis", "API", "41 restarted"),
            ("API", "client A", "restarted"),
            ("client A", "client A", "discards the text so far"),
            ("worker 2", "model", "asks anew"),
            ("worker 1", "Redis", "append, attempt 1"),
            ("Redis", "worker 1", "refused: fenced"),
            ("worker 2", "Redis", "append, attempt 2"),
            ("Redis", "API", "42"),
            ("API", "client A", "id: 42"),
        ),
    ),
}

_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.p{font-weight:600;text-anchor:middle}.m{text-anchor:middle}"
    ".n{font-style:italic;text-anchor:middle}line{stroke:#6e7781}.l{stroke:#d0d7de;stroke-dasharray:4 4}"
    "rect.b{fill:#fff;stroke:#d0d7de}rect.p{fill:#e8eef9;stroke:#8fa8d8}rect.n{fill:#fff8c5;stroke:#d4a72c}"
)


def picture(name: str) -> str:
    """Returns the SVG of this name."""
    title, parties, steps = PICTURES[name]
    width, height = len(parties) * _COLUMN, _TOP + (len(steps) + 1) * _ROW
    at = {party: _COLUMN // 2 + number * _COLUMN for number, party in enumerate(parties)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" aria-label="{escape(title)}"><style>{_STYLE}</style><defs><marker id="a" viewBox="0 0 8 8"'
        ' refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#6e7781"/>'
        f'</marker></defs><rect class="b" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="8"/>',
    ]
    for party, x in at.items():
        parts.append(f'<line class="l" x1="{x}" x2="{x}" y1="44" y2="{height - 12}"/>')
        parts.append(f'<rect class="p" x="{x - 46}" y="14" width="92" height="28" rx="6"/>')
        parts.append(f'<text class="p" x="{x}" y="32">{escape(party)}</text>')
    for number, (source, target, text) in enumerate(steps):
        parts += _step(at[source], at[target], _TOP + number * _ROW + 24, escape(text), width)
    return "\n".join([*parts, "</svg>", ""])


def _step(start: int, end: int, y: int, text: str, width: int) -> list[str]:
    if start != end:
        inset = 3 if end > start else -3
        return [
            f'<line x1="{start}" x2="{end - inset}" y1="{y}" y2="{y}" marker-end="url(#a)"/>',
            f'<text class="m" x="{(start + end) // 2}" y="{y - 5}">{text}</text>',
        ]
    half = 4 * len(text)
    middle = min(max(start, half + 6), width - half - 6)
    return [
        f'<rect class="n" x="{middle - half}" y="{y - 16}" width="{2 * half}" height="22" rx="4"/>',
        f'<text class="n" x="{middle}" y="{y - 1}">{text}</text>',
    ]


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in PICTURES:
        (FOLDER / f"{each}.svg").write_text(picture(each), "utf-8")
