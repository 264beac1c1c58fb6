"""The events of a Responses stream to chunks of chat completions (pure).

What a chunk has no field for is kept in fields that reach the log's `extra`: whole items of reasoning and of hosted
tools in `response_items`, events of unknown types in `response_events`, and whether reasoning is a summary in
`reasoning_type`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from readalong.core.errors import ModelError
from readalong.core.events import ITEMS
from readalong.worker.model.chunks.error_messages import find_error
from readalong.worker.model.openai.responses.errors import response_error
from readalong.worker.model.openai.responses.json_values import mapping, mappings
from readalong.worker.model.openai.responses.output_item import CALLS, OutputItem, OutputItems
from readalong.worker.model.openai.responses.response_end import end_chunk, head_chunk

Chunk = dict[str, Any]


class _Text(NamedTuple):
    """Where the events of a kind of part have what they say. `part`: the part's type."""

    part: str
    place: str
    whole: str = "text"


_TEXTS: Final = {
    "response.output_text": _Text("output_text", "content_index"),
    "response.refusal": _Text("refusal", "content_index", "refusal"),
    "response.reasoning_text": _Text("reasoning_text", "content_index"),
    "response.reasoning_summary_text": _Text("summary_text", "summary_index"),
}
_ARGUMENTS: Final = {
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}
#: The types of events that end a response.
_ENDS: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
#: The events of whole parts, and the field of their place.
_PARTS: Final = {
    "response.content_part.done": "content_index",
    "response.reasoning_summary_part.done": "summary_index",
}
#: The last words of events that only say how far something is.
_PROGRESS: Final = frozenset(
    {"compacting", "created", "generating", "in_progress", "interpreting", "keepalive", "queued", "searching"}
)
#: Pieces of sound, and the field that they have in chat completions.
_SOUND: Final = {"response.audio.delta": "data", "response.audio.transcript.delta": "transcript"}
#: Events that say nothing that others do not say.
_EMPTY: Final = frozenset(
    {
        *("response.content_part.added", "response.reasoning_summary_part.added"),
        *("response.audio.done", "response.audio.transcript.done"),
    }
)
#: Types of items that are read. All others are those of hosted tools, and are kept whole.
_READ: Final = frozenset({"message", "reasoning", *CALLS})
#: Fields of a message that are read, or say nothing.
_MESSAGE_FIELDS: Final = frozenset({"id", "type", "role", "status", "content"})
#: Fields of a call that are read, or that its next request must not repeat.
_CALL_FIELDS: Final = frozenset({"id", "type", "status", "call_id", "name", "arguments", "input"})


class EventTranslator:
    """The events of one response. `take` returns what each says as chunks."""

    def __init__(self) -> None:
        #: The response has ended: no event follows.
        self.ended = False
        #: Why it has failed. What `take` returned is valid.
        self.failure: ModelError | None = None
        self._items = OutputItems()
        self._kept = 0

    def take(self, event: dict[str, Any], name: str) -> list[Chunk]:
        """`name`: the name of the SSE message, for an event without a type. Raises AnswerTooLarge."""
        kind = _name_of(event.get("type"))
        if not kind and (event.get("object") == "response" or find_error(event) is not None):
            return self._take_untyped(event)
        kind = kind or name
        subject, _, action = kind.rpartition(".")
        chunks: list[Chunk] = []
        if kind == "error":
            self.failure = response_error(event.get("error") or event)
        elif kind in _ENDS:
            chunks = self._end(mapping(event.get("response")), _ENDS[kind])
        elif subject in _TEXTS:
            chunks = self._take_text(_TEXTS[subject], action, event)
        elif subject in _ARGUMENTS:
            chunks = self._take_arguments(_ARGUMENTS[subject], action, event)
        elif subject == "response.output_item" and action in ("added", "done"):
            item, given = self._items.of(event, begins=action == "added"), mapping(event.get("item"))
            chunks = self._begin(item, given) if action == "added" else self._finish(item, given)
        elif kind in _PARTS:
            chunks = self._finish_part(self._items.of(event), event.get(_PARTS[kind]), mapping(event.get("part")))
        elif kind == "response.output_text.annotation.added":
            chunks = self._annotate(self._items.of(event), event.get("content_index"), [event.get("annotation")])
        elif kind == "response.created":
            chunks = [head_chunk(mapping(event.get("response")))]
        else:
            chunks = self._take_other(kind, event)
        return chunks

    def _take_untyped(self, event: dict[str, Any]) -> list[Chunk]:
        """Takes an error, or a Response object in place of a stream."""
        status = _name_of(event.get("status"))
        if event.get("object") == "response" and status in _ENDS.values():
            return [head_chunk(event), *self._end(event, status)]
        if (error := find_error(event)) is not None:
            self.failure = response_error(error)
        return []

    def _take_text(self, text: _Text, action: str, event: dict[str, Any]) -> list[Chunk]:
        item = self._items.of(event)
        if action == "delta":
            return self._say(item, text.part, event.get(text.place), event.get("delta"), event.get("logprobs"))
        if action == "done":
            return self._say_rest(item, text.part, event.get(text.place), event.get(text.whole), event.get("logprobs"))
        return []

    def _take_arguments(self, field: str, action: str, event: dict[str, Any]) -> list[Chunk]:
        item = self._items.of(event)
        item.type = item.type or ("custom_tool_call" if field == "input" else "function_call")
        if action == "delta":
            return self._call(item, {}, event.get("delta"))
        return self._call(item, {}, item.rest(field, 0, event.get(field))) if action == "done" else []

    def _take_other(self, kind: str, event: dict[str, Any]) -> list[Chunk]:
        if kind in _SOUND:
            return [_delta({"audio": {_SOUND[kind]: event.get("delta")}})]
        if kind.rpartition(".")[2] in _PROGRESS or kind in _EMPTY or self._items.is_of(event, without=_READ):
            return []  # the item of a hosted tool comes whole when it is done
        return [_delta({"response_events": [event]})]

    def _begin(self, item: OutputItem, given: dict[str, Any]) -> list[Chunk]:
        item.type = _name_of(given.get("type"))
        if item.type in CALLS:
            return self._call(item, given, given.get(CALLS[item.type]), begins=True)
        if item.type == "message":
            return self._keep_fields(item, given)
        return []

    def _finish(self, item: OutputItem, given: dict[str, Any]) -> list[Chunk]:
        """Says what of a whole item has not been said."""
        if item.done:
            return []
        item.type = kind = _name_of(given.get("type")) or item.type
        chunks: list[Chunk] = []
        if kind in CALLS:
            chunks = self._call(item, given, item.rest(CALLS[kind], 0, given.get(CALLS[kind])))
        elif kind == "message":
            chunks = self._keep_fields(item, given)
            for place, part in enumerate(mappings(given.get("content"))):
                chunks += self._finish_part(item, place, part)
        elif kind:
            if kind == "reasoning":
                for name in ("summary", "content"):
                    for place, part in enumerate(mappings(given.get(name))):
                        chunks += self._finish_part(item, place, part)
            self._kept += 1
            chunks.append(_delta({ITEMS: [given]}))
        item.finish()
        return chunks

    def _finish_part(self, item: OutputItem, place: Any, part: dict[str, Any]) -> list[Chunk]:
        kind = _name_of(part.get("type"))
        known = next((text for text in _TEXTS.values() if text.part == kind), None)
        if known is None:
            return [_delta({"response_parts": [part]})] if kind else []
        chunks = self._say_rest(item, kind, place, part.get(known.whole), part.get("logprobs"))
        annotations = part.get("annotations")
        if isinstance(annotations, list):
            chunks += self._annotate(item, place, annotations[item.annotations(place) :])
        return chunks

    def _say_rest(self, item: OutputItem, kind: str, place: Any, whole: Any, logprobs: Any) -> list[Chunk]:
        begun = item.has(kind, place)
        rest = item.rest(kind, place, whole)
        # Of a part that has been said in pieces the probabilities came with them.
        return self._say(item, kind, place, rest, None if begun else logprobs) if rest else []

    def _say(self, item: OutputItem, kind: str, place: Any, text: Any, logprobs: Any) -> list[Chunk]:
        if not isinstance(text, str) or item.done or not (text or logprobs):
            return []
        chunks = []
        if kind == "summary_text" and item.has(kind) and not item.has(kind, place):
            # The parts of a summary are paragraphs.
            chunks.append(_delta({"reasoning_content": "\n\n"}))
        self._items.add_text(item, kind, place, text)
        if kind == "output_text":
            chunks.append(_delta({"content": text}, _logprobs(logprobs)))
        elif kind == "refusal":
            chunks.append(_delta({"refusal": text}))
        else:
            chunks.append(_delta({"reasoning_content": text, "reasoning_type": kind}))
        return chunks

    def _call(self, item: OutputItem, given: dict[str, Any], text: Any, *, begins: bool = False) -> list[Chunk]:
        """Says a piece of a call, and what of its fields is new."""
        if item.done:
            return []
        text = text if isinstance(text, str) else ""
        custom = item.type == "custom_tool_call"
        field = CALLS.get(item.type, "arguments")
        new = item.new_fields({name: value for name, value in given.items() if name not in _CALL_FIELDS})
        name = item.new_fields({"name": given.get("name")}).get("name")
        call_id = item.new_fields({"call_id": given.get("call_id")}).get("call_id")
        if not (begins or text or new or name or call_id):
            return []
        self._items.add_text(item, field, 0, text)
        said = {field: text, **({"name": name} if name else {})}
        call = {**new, "index": self._items.number(item), "type": "custom" if custom else "function"}
        if call_id:
            call["id"] = call_id
        return [_delta({"tool_calls": [{**call, call["type"]: said}]})]

    def _annotate(self, item: OutputItem, place: Any, annotations: list[Any]) -> list[Chunk]:
        if not annotations or item.done:
            return []
        item.add_annotations(place, len(annotations))
        return [_delta({"annotations": [_annotation(each) for each in annotations]})]

    def _keep_fields(self, item: OutputItem, given: dict[str, Any]) -> list[Chunk]:
        """Keeps the fields of a message that are not read, such as `phase`."""
        new = item.new_fields({name: value for name, value in given.items() if name not in _MESSAGE_FIELDS})
        return [_delta(new)] if new else []

    def _end(self, response: dict[str, Any], status: str) -> list[Chunk]:
        chunks: list[Chunk] = []
        # Of items that the events did not name it is not known which of these they are.
        output = [] if self._items.nameless else mappings(response.get("output"))
        for place, given in enumerate(output):
            chunks += self._finish(self._items.of({"output_index": place, "item": given}), given)
        if status in ("failed", "cancelled"):
            self.failure = _failure(response, status)
            return chunks
        self.ended = True
        chunks.append(end_chunk(response, status, called=self._items.calls > 0, kept=self._kept))
        return chunks


def _failure(response: dict[str, Any], status: str) -> ModelError:
    if status == "cancelled":
        return ModelError("model_error", "The model's server has cancelled the response.", retryable=True)
    return response_error(response.get("error") or {"message": "it does not say why"})


def _delta(delta: dict[str, Any], logprobs: list[Any] | None = None) -> Chunk:
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
    if logprobs:
        choice["logprobs"] = {"content": logprobs, "refusal": None}
    return {"choices": [choice]}


def _logprobs(given: Any) -> list[Any]:
    """Returns the log probabilities with what those of chat completions always have."""
    tokens = [{"bytes": None, **token} for token in mappings(given)]
    for token in tokens:
        token["top_logprobs"] = [{"bytes": None, **top} for top in mappings(token.get("top_logprobs"))]
    return tokens


def _annotation(given: Any) -> Any:
    """Returns an annotation as in chat completions: its fields in an object of the type's name."""
    kind = given.get("type") if isinstance(given, dict) else None
    if not isinstance(kind, str) or isinstance(given.get(kind), dict):
        return given
    return {"type": kind, kind: {name: value for name, value in given.items() if name != "type"}}


def _name_of(value: Any) -> str:
    return value if isinstance(value, str) else ""
