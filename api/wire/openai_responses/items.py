"""Output items while they grow: what a message, a reasoning item or a call tells a stream."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from readalong.api.wire.openai_responses.growing_text import GrowingText

#: The type of a stream's event, and its fields as a JSON object.
WireEvent = tuple[str, bytes]


class _PartKind(NamedTuple):
    """The names that a kind of part has in events. `place`: the field of its number. `text`: that of its whole text."""

    place: str
    part: str
    delta: str
    text: str = "text"


_PARTS: Final = {
    "output_text": _PartKind("content_index", "response.content_part", "response.output_text"),
    "refusal": _PartKind("content_index", "response.content_part", "response.refusal", "refusal"),
    "reasoning_text": _PartKind("content_index", "response.content_part", "response.reasoning_text"),
    "summary_text": _PartKind("summary_index", "response.reasoning_summary_part", "response.reasoning_summary_text"),
}


class _Part:
    """An open part of a message or a reasoning item."""

    __slots__ = ("annotations", "index", "kind", "logprobs", "text")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.text = GrowingText()
        #: The log probabilities of tokens: JSON objects, each behind a comma.
        self.logprobs = GrowingText()
        self.annotations: tuple[bytes, ...] = ()

    def json(self) -> bytes:
        fields: dict[str, Any] = {"type": self.kind}
        if self.kind == "output_text":
            fields["annotations"] = orjson.Fragment(json_list(self.annotations))
            fields["logprobs"] = self.logprobs_json()
        fields[_PARTS[self.kind].text] = str(self.text)
        return orjson.dumps(fields)

    def logprobs_json(self) -> orjson.Fragment:
        return orjson.Fragment(b"[%s]" % str(self.logprobs)[1:].encode())


class Speech:
    """A message or a reasoning item. Its parts follow each other: a new one closes the one before."""

    __slots__ = ("_done", "_part", "encrypted", "id", "index", "type")

    def __init__(self, kind: str, item_id: str, index: int) -> None:
        """`kind`: `message` or `reasoning`."""
        self.type = kind
        self.id = item_id
        self.index = index
        #: The closed parts: kind and JSON.
        self._done: tuple[tuple[str, bytes], ...] = ()
        self._part: _Part | None = None
        #: What a model has encrypted of its reasoning.
        self.encrypted = ""

    def open(self) -> list[WireEvent]:
        return [item_event("added", self.index, self.json("in_progress"))]

    def say(self, kind: str, text: str, logprobs: list[dict[str, Any]]) -> list[WireEvent]:
        """Adds a piece of text to the part of this kind."""
        events = self._open_part(kind)
        part = self._part
        assert part is not None
        part.text.append(text)
        fields = {**self._place(part), "delta": text}
        if kind == "output_text":
            for logprob in logprobs:
                part.logprobs.append("," + orjson.dumps(logprob).decode())
            fields["logprobs"] = logprobs
        events.append((f"{_PARTS[kind].delta}.delta", orjson.dumps(fields)))
        return events

    def annotate(self, annotation: dict[str, Any]) -> list[WireEvent]:
        """Adds an annotation to the part of text."""
        events = self._open_part("output_text")
        part = self._part
        assert part is not None
        fields = {**self._place(part), "annotation_index": len(part.annotations), "annotation": annotation}
        part.annotations = (*part.annotations, orjson.dumps(annotation))
        events.append(("response.output_text.annotation.added", orjson.dumps(fields)))
        return events

    def close(self, status: str, *, cut: bool = False) -> list[WireEvent]:
        """`cut`: the text broke off. Only the item is told then: a client that parses whole texts would fail on it."""
        events = self._close_part()
        return [*([] if cut else events), item_event("done", self.index, self.json(status))]

    def json(self, status: str) -> bytes:
        """Returns the item so far."""
        parts = self._done if self._part is None else (*self._done, (self._part.kind, self._part.json()))
        fields: dict[str, Any] = {"id": self.id, "type": self.type, "status": status}
        if self.type == "message":
            fields["role"] = "assistant"
            fields["content"] = orjson.Fragment(json_list([part for _, part in parts]))
        else:
            fields["summary"] = orjson.Fragment(json_list([part for kind, part in parts if kind == "summary_text"]))
            if texts := [part for kind, part in parts if kind == "reasoning_text"]:
                fields["content"] = orjson.Fragment(json_list(texts))
            if self.encrypted:
                fields["encrypted_content"] = self.encrypted
        return orjson.dumps(fields)

    def _open_part(self, kind: str) -> list[WireEvent]:
        if self._part is not None and self._part.kind == kind:
            return []
        events = self._close_part()
        part = self._part = _Part(kind, len(self._done))
        events.append(self._part_event(part, "added"))
        return events

    def _close_part(self) -> list[WireEvent]:
        part, self._part = self._part, None
        if part is None:
            return []
        kind = _PARTS[part.kind]
        fields = {**self._place(part), kind.text: str(part.text)}
        if part.kind == "output_text":
            fields["logprobs"] = part.logprobs_json()
        self._done = (*self._done, (part.kind, part.json()))
        return [(f"{kind.delta}.done", orjson.dumps(fields)), self._part_event(part, "done")]

    def _part_event(self, part: _Part, what: str) -> WireEvent:
        fields = {**self._place(part), "part": orjson.Fragment(part.json())}
        return f"{_PARTS[part.kind].part}.{what}", orjson.dumps(fields)

    def _place(self, part: _Part) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, _PARTS[part.kind].place: part.index}


class Call:
    """A call of a function or of a custom tool."""

    __slots__ = ("_text", "call_id", "custom", "id", "index", "name", "rest")

    def __init__(self, item_id: str, index: int, call_id: str, name: str, *, custom: bool) -> None:
        self.id = item_id
        self.index = index
        self.call_id = call_id
        self.name = name
        self.custom = custom
        #: Fields of the model's own, such as Gemini's signature of a thought. The next turn needs them.
        self.rest: bytes = b"{}"
        self._text = GrowingText()

    def open(self) -> list[WireEvent]:
        return [item_event("added", self.index, self.json("in_progress"))]

    def say(self, text: str) -> list[WireEvent]:
        """Adds a piece of the arguments, or of a custom tool's input."""
        self._text.append(text)
        return [(f"{self._event}.delta", orjson.dumps({**self._place(), "delta": text}))]

    def close(self, status: str, text: str | None = None) -> list[WireEvent]:
        """`text`: the whole arguments if they differ from the pieces. Of a call that is not complete only the item is
        told: clients run a function when they hear of its whole arguments."""
        said, events = str(self._text), []
        if text is not None and text != said:
            if text.startswith(said):
                events = self.say(text[len(said) :])
            else:
                self._text = GrowingText()
                self._text.append(text)
        if status == "completed":
            fields = {**self._place(), self._field: str(self._text)}
            if not self.custom:
                fields["name"] = self.name
            events.append((f"{self._event}.done", orjson.dumps(fields)))
        events.append(item_event("done", self.index, self.json(status)))
        return events

    def json(self, status: str) -> bytes:
        """Returns the item so far."""
        fields = {
            **orjson.loads(self.rest),
            "id": self.id,
            "type": "custom_tool_call" if self.custom else "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            self._field: str(self._text),
        }
        return orjson.dumps(fields)

    @property
    def text(self) -> str:
        return str(self._text)

    @property
    def _field(self) -> str:
        return "input" if self.custom else "arguments"

    @property
    def _event(self) -> str:
        return "response.custom_tool_call_input" if self.custom else "response.function_call_arguments"

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index}


def json_list(items: list[bytes] | tuple[bytes, ...]) -> bytes:
    """Returns the JSON list of these JSON values."""
    return b"[%s]" % b",".join(items)


def item_event(what: str, index: int, item: bytes) -> WireEvent:
    fields = {"output_index": index, "item": orjson.Fragment(item)}
    return f"response.output_item.{what}", orjson.dumps(fields)
