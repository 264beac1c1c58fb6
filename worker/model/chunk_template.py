"""The form of a chunk that differs from the one before only in its text (pure).

Of a model's chunks nearly all are the same bytes around one piece of text. To compare them costs a tenth of parsing.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import orjson

from readalong.core.events import NewEvent

#: Stands for the text while a mould is tried.
_ANY: Final = b"any text"


class ChunkTemplate(NamedTuple):
    """What stands before and after the text, inside its quotes, and the choice that the text belongs to.

    Between the same bytes another string without a quote makes the same JSON but for this string, and so the same
    events but for their text: whatever else the chunk holds was folded with the one that the mould was taken from.
    """

    before: bytes
    after: bytes
    choice: int

    @classmethod
    def of(cls, data: bytes, drafts: list[NewEvent]) -> Self | None:
        """The mould of a chunk that made these events; None if it said more, or less, than a piece of content."""
        if len(drafts) != 1 or drafts[0].type != "content" or not drafts[0].fields.keys() <= {"content", "choice"}:
            return None
        text = drafts[0].fields["content"]
        before, quoted, after = data.partition(orjson.dumps(text))
        if not text or not quoted:  # escaped in another way
            return None
        before, after = before + b'"', b'"' + after
        try:
            [choice] = orjson.loads(before + _ANY + after)["choices"]
            said = choice["delta"]["content"]
        except (ValueError, KeyError, TypeError):  # another form: whole answers, other names
            return None
        # The same text may stand in the chunk more than once; a whole message says the text so far again.
        if said != _ANY.decode() or choice.get("message"):
            return None
        return cls(before, after, drafts[0].fields.get("choice", 0))

    def framed(self) -> ChunkTemplate | None:
        """The mould of a frame of an event stream with such a chunk, as most servers write it. None where a frame has
        more lines."""
        if b"\n" in self.before or b"\n" in self.after:
            return None
        return ChunkTemplate(b"data: " + self.before, self.after + b"\n\n", self.choice)

    def text(self, data: bytes) -> str | None:
        """The text of a chunk of this form; None or "" for any other chunk, and for one that is no JSON."""
        before, after, _ = self
        start, end = len(before), len(data) - len(after)
        if end < start or not data.startswith(before) or not data.endswith(after) or data.find(b'"', start, end) != -1:
            return None
        try:
            text: str = orjson.loads(data[start - 1 : end + 1])  # with its quotes
        except orjson.JSONDecodeError:  # also one that ends with a backslash: its quote is not the end
            return None
        return text
