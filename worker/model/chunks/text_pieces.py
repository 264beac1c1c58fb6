"""The pieces of one growing text (pure)."""

from __future__ import annotations


class TextPieces(list[str]):
    """The pieces of a text, compared with a whole text without joining them for each comparison."""

    _counted = 0
    _size = 0

    def is_prefix_of(self, text: str) -> bool:
        """Returns whether the text begins with all pieces. A shorter text costs no join, which would be quadratic."""
        self._size += sum(map(len, self[self._counted :]))
        self._counted = len(self)
        return len(text) >= self._size and text.startswith("".join(self))

    def size(self) -> int:
        """Returns the number of characters. Valid after `is_prefix_of`."""
        return self._size

    def pop_last(self) -> None:
        """Removes the newest piece."""
        self.pop()
        self._counted = self._size = 0
