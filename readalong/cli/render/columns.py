"""Tables that fit their terminal: columns drop from the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.text import Text

_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Column:
    """`keep`: it is never dropped, nor cut. `cut`: it is cut to this width rather than dropped; 0: never."""

    name: str
    right: bool = False
    keep: bool = False
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that fit, as indexes with their widths."""

    columns: Sequence[Column]
    widths: dict[int, int]

    @classmethod
    def fit(cls, columns: Sequence[Column], natural: dict[int, int], width: int) -> Layout:
        """Returns the layout for a terminal of `width`. `natural`: the widths that the cells need, by index."""
        widths = dict(natural)
        for index in sorted(natural, reverse=True):
            excess = sum(widths.values()) + _GAP * (len(widths) - 1) - width
            column = columns[index]
            if excess <= 0 or column.keep:
                continue
            if column.cut and widths[index] - excess >= column.cut:
                widths[index] -= excess
            else:
                del widths[index]
        return cls(columns, widths)

    def header(self) -> Text:
        return self.row([Text(column.name, style="bold") for column in self.columns])

    def row(self, cells: Sequence[Text]) -> Text:
        """Returns a line of these cells, one for each column of the table."""
        line = Text()
        for index, width in self.widths.items():
            if line or index != next(iter(self.widths)):
                line.append(" " * _GAP)
            cell = cells[index].copy()
            if not self.columns[index].keep:
                cell.truncate(width, overflow="ellipsis")
            space = " " * (width - cell_len(cell.plain))
            line.append_text(Text.assemble(space, cell) if self.columns[index].right else Text.assemble(cell, space))
        line.rstrip()
        return line


def table(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[Text]:
    """Returns the header and a line for each row. A column without any content is left out."""
    natural = {}
    for index, column in enumerate(columns):
        longest = max((cell_len(row[index].plain) for row in rows), default=0)
        if column.keep or any(row[index].plain not in ("", "-") for row in rows):
            natural[index] = max(longest, cell_len(column.name))
    layout = Layout.fit(columns, natural, width)
    return [layout.header(), *map(layout.row, rows)]
