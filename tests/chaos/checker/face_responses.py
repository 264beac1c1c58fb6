"""OpenAI's Responses: the events of a response are numbered from 0, and each event of the log is some of them."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.chaos.checker.history import RESPONSE_ENDS, Job, Watch
from tests.chaos.checker.report import Rule
from tests.chaos.checker.told import Told, Wrong, astray, parsed

_PARTS: Final = {
    "content": "response.output_text",
    "refusal": "response.refusal",
    "reasoning": "response.reasoning_text",
}
_CALL: Final = "response.function_call_arguments"
_INCOMPLETE: Final = frozenset({"length", "max_tokens", "content_filter"})


def check(watch: Watch, job: Job, ids: dict[object, str]) -> Wrong | None:
    """Event for event from the watch's first number on."""
    expected = _Events(job).all()
    if watch.whole:
        return _check_whole(watch, job, expected[-1])
    for number, line in enumerate(watch.said):
        place, data = watch.after + number, line.record["data"]
        one, fields = told(data), parsed(data) or {}
        numbered = fields.get("sequence_number")
        if numbered != place:
            gap = isinstance(numbered, int) and numbered > place
            return Rule.GAP if gap else Rule.REPEAT, f"has number {numbered} in the place of {place}", number
        if one is None or place >= len(expected) or one != expected[place]:
            return *_astray(one, expected, place), number
        for where, said in _ids(fields):
            if ids.setdefault(where, said) != said:
                return Rule.BYTES, f"names {where} {said}, which was {ids[where]}", number
        if "response" in fields and fields["response"]["id"] != f"resp_{job.id}":
            return Rule.BYTES, f"names the response {fields['response']['id']}", number
    return None


def told(data: str) -> Told | None:
    """Returns None for a line without a meaning."""
    fields = parsed(data)
    if fields is None or "type" not in fields:
        return None
    kind, index = fields["type"], fields.get("output_index")
    if "response" in fields:
        return _of_response(kind, fields["response"])
    if "item" in fields:
        item = fields["item"]
        return Told(kind, index, (item["type"], item["status"], _text_of_item(item)))
    if "part" in fields:
        part = fields["part"]
        return Told(kind, index, part.get("text", part.get("refusal")))
    names = ("delta", "text", "refusal", "arguments")
    return Told(kind, index, next((fields[name] for name in names if name in fields), None))


def told_whole(data: str) -> Told | None:
    """Returns what a Response object tells; None for something else."""
    fields = parsed(data)
    return None if fields is None or fields.get("object") != "response" else _of_response("response", fields)


def _of_response(kind: str, response: dict[str, Any]) -> Told:
    """Its status, the code of its error, and what its items say."""
    items = [(item["type"], item["status"], _text_of_item(item)) for item in response["output"]]
    return Told(kind, (response["status"], (response["error"] or {}).get("type")), items)


def _text_of_item(item: dict[str, Any]) -> str:
    if item["type"] == "function_call":
        return str(item["arguments"])
    return "".join(part.get("text", part.get("refusal")) for part in item.get("content", ()))


def _ids(fields: dict[str, Any]) -> list[tuple[object, str]]:
    """Returns each id that an event names, with its place: an output index has one id, and an id one place."""
    index = fields.get("output_index")
    named = fields.get("item_id") or (fields.get("item") or {}).get("id")
    return [] if named is None else [(index, named), (named, str(index))]


def _astray(one: Told | None, expected: list[Told], place: int) -> tuple[Rule, str]:
    if one is not None and one.name in RESPONSE_ENDS and place < len(expected) and one not in expected:
        return Rule.STATUS, f"ends by {one.name} {one.place}, which is not the job's end"
    return astray(one, expected, place)


def _check_whole(watch: Watch, job: Job, end: Told) -> Wrong | None:
    for number, line in enumerate(watch.said):
        one = told_whole(line.record["data"])
        if one is None or (parsed(line.record["data"]) or {}).get("id") != f"resp_{job.id}":
            return Rule.BYTES, "has no meaning", number
        if one.place != end.place:
            return Rule.STATUS, f"says {one.place}, and the job's end is {end.place}", number
        if one.value != end.value:
            return Rule.CONTENT, "is not the text of the job", number
    return None


class _Item:
    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.status = "in_progress"
        #: Of the open part: its name, and its text.
        self.part = ""
        self.piece = ""
        self.text = ""

    @property
    def told(self) -> tuple[str, str, str]:
        return self.kind, self.status, self.text


class _Events:
    """The events of a job's response."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._events: list[Told] = []
        #: The items of the present attempt, and those of the ones before it.
        self._items: list[_Item] = []
        self._lost: list[_Item] = []
        self._speech: _Item | None = None
        self._calls: dict[int, _Item] = {}

    def all(self) -> list[Told]:
        for event in self._job.log:
            fields = event.fields
            if not fields.get("choice"):
                self._add(event.type, fields)
        return self._events

    def _add(self, kind: str, fields: dict[str, Any]) -> None:
        match kind:
            case "queued":
                self._tell("response.created", ("queued", None), [])
                self._tell("response.queued", ("queued", None), [])
            case "started":
                self._tell("response.in_progress", ("in_progress", None), [])
            case "content" | "refusal" | "reasoning":
                self._text(kind, fields["content"])
            case "tool_call_delta" | "tool_call":
                self._call(kind, fields)
            case "restarted":
                self._close("incomplete", cut=True)
                self._lost += self._items
                self._items = []
                self._tell("response.in_progress", ("in_progress", None), [item.told for item in self._lost])
            case "done" | "failed" | "cancelled":
                self._end(kind, fields)

    def _text(self, kind: str, text: str) -> None:
        if not text:
            return
        of = "reasoning" if kind == "reasoning" else "message"
        if self._speech is None or self._speech.kind != of:
            self._close_speech("completed", cut=False)
            self._speech = self._new(of)
        speech, part = self._speech, _PARTS[kind]
        if speech.part != part:
            self._close_part(speech)
            speech.part = part
            self._tell("response.content_part.added", speech.index, "")
        speech.piece += text
        speech.text += text
        self._tell(f"{part}.delta", speech.index, text)

    def _call(self, kind: str, fields: dict[str, Any]) -> None:
        number = fields["index"]
        if number not in self._calls:
            self._close_speech("completed", cut=False)
            self._calls[number] = self._new("function_call")
        call = self._calls[number]
        if kind == "tool_call_delta":
            if fields["arguments"]:
                call.text += fields["arguments"]
                self._tell(f"{_CALL}.delta", call.index, fields["arguments"])
            return
        broken = "arguments_error" in fields
        if not broken and json.loads(call.text or "null") == fields["arguments"]:
            self._tell(f"{_CALL}.done", call.index, call.text)
        del self._calls[number]
        self._close_item(call, "incomplete" if broken else "completed")

    def _end(self, kind: str, fields: dict[str, Any]) -> None:
        status, code = kind, None
        if kind == "done":
            status = "incomplete" if fields.get("finish_reason") in _INCOMPLETE else "completed"
        elif kind == "failed":
            code = fields["error"]["code"]
        self._close("completed" if status == "completed" else "incomplete", cut=kind != "done")
        shown = "failed" if status == "cancelled" else status
        self._tell(f"response.{shown}", (status, code), [item.told for item in self._items])

    def _new(self, kind: str) -> _Item:
        item = _Item(len(self._lost) + len(self._items), kind)
        self._items.append(item)
        self._tell("response.output_item.added", item.index, item.told)
        return item

    def _close(self, status: str, *, cut: bool) -> None:
        self._close_speech(status, cut=cut)
        for call in self._calls.values():
            self._close_item(call, status)
        self._calls = {}

    def _close_speech(self, status: str, *, cut: bool) -> None:
        speech, self._speech = self._speech, None
        if speech is not None:
            if not cut:
                self._close_part(speech)
            self._close_item(speech, status)

    def _close_part(self, speech: _Item) -> None:
        if speech.part:
            self._tell(f"{speech.part}.done", speech.index, speech.piece)
            self._tell("response.content_part.done", speech.index, speech.piece)
        speech.piece = ""

    def _close_item(self, item: _Item, status: str) -> None:
        item.status = status
        self._tell("response.output_item.done", item.index, item.told)

    def _tell(self, kind: str, place: Any, value: Any) -> None:
        self._events.append(Told(kind, place, value))
