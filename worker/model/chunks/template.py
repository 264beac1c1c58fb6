"""Recognizes a chunk that differs from the one before only in its text (pure).

Nearly all chunks of a model are the same bytes around one piece of text. Comparing them costs a tenth of parsing.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Self

import orjson

from readalong.core.events import NewEvent

#: Stands for the text while a template is verified.
_PLACEHOLDER: Final = b"any text"


class ChunkTemplate(NamedTuple):
    """The bytes before and after the text, its quotes included, and the text's choice.

    Another string without a quote between the same bytes makes the same JSON but for that string, and so the same
    events but for their text. All other fields of the chunk were read with the chunk that the template comes from.
    """

    before: bytes
    after: bytes
    choice: int

    @classmethod
    def of(cls, data: bytes, events: list[NewEvent]) -> Self | None:
        """Returns the template of a chunk that made these events; None unless they are one plain piece of content."""
        if len(events) != 1 or events[0].type != "content" or not events[0].fields.keys() <= {"content", "choice"}:
            return None
        text = events[0].fields["content"]
        before, quoted, after = data.partition(orjson.dumps(text))
        if not text or not quoted:  # escaped in another way
            return None
        before, after = before + b'"', b'"' + after
        try:
            [choice] = orjson.loads(before + _PLACEHOLDER + after)["choices"]
            content = choice["delta"]["content"]
        except (ValueError, KeyError, TypeError):  # another form: a whole answer, other names
            return None
        # The chunk may hold the same text twice. A whole message repeats the text so far.
        if content != _PLACEHOLDER.decode() or choice.get("message"):
            return None
        return cls(before, after, events[0].fields.get("choice", 0))

    def for_frame(self) -> ChunkTemplate | None:
        """Returns the template of an SSE frame that holds such a chunk; None if the frame would have more lines."""
        if b"\n" in self.before or b"\n" in self.after:
            return None
        return ChunkTemplate(b"data: " + self.before, self.after + b"\n\n", self.choice)

    def text(self, data: bytes) -> str | None:
        """Returns the text of a chunk of this form; None or "" for any other chunk and for invalid JSON."""
        before, after, _ = self
        start, end = len(before), len(data) - len(after)
        if end < start or not data.startswith(before) or not data.endswith(after) or data.find(b'"', start, end) != -1:
            return None
        try:
            text: str = orjson.loads(data[start - 1 : end + 1])  # with its quotes
        except orjson.JSONDecodeError:  # also a text that ends with a backslash: its quote is escaped
            return None
        return text
