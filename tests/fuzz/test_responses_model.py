"""For any stream of a Responses model, cut anywhere: the events match it, and there is one end."""

from __future__ import annotations

from typing import Any, Final

import orjson
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.events import Event, NewEvent, merge_drafts
from readalong.core.transcript import Transcript
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.openai.responses.answer_parser import ResponseParser
from tests.fuzz.answers import cut, cuts
from tests.fuzz.effort import fuzzed
from tests.worker.model.odd_answers import DONE, data
from tests.worker.model.response_streams import (
    CITATION,
    USAGE,
    begins,
    calls,
    ends,
    message,
    part,
    says,
    searches,
    thinks,
)

EVENTS: Final[list[dict[str, Any]]] = [
    *begins(),
    *thinks(0, "Owls.", "Hoots."),
    *searches(1),
    *says(2, "Owls", " hoot"),
    part("output_text.annotation.added", 2, "msg_up", annotation_index=0, annotation=CITATION),
    *calls(3, '{"q":', "1}"),
    *calls(4, "a b", call_id="call_2", custom=True),
    ends("completed", message("Owls hoot"), usage=USAGE),
    ends("incomplete", incomplete_details={"reason": "content_filter"}),
    ends("failed", error={"code": "server_error", "message": "full"}),
]
CODES: Final = {"model_malformed", "model_error", "model_cut", "model_bad_request"}
_names: Final = sorted({name for event in EVENTS for name in event} | {"text", "id", "type", "content", "name"})
_values: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 10**6)
    | st.text(max_size=5)
    | st.sampled_from(["message", "reasoning"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_names), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Draws events of a response in any order, some with another value in one of their fields."""
    frames = []
    for event in draw(st.lists(st.sampled_from(EVENTS), max_size=12)):
        changed: Any = orjson.loads(orjson.dumps(event))
        place = changed
        if draw(st.booleans()):
            while isinstance(inner := place[name := draw(st.sampled_from(sorted(place)))], dict) and inner:
                if draw(st.booleans()):
                    break
                place = inner
            place[name] = draw(_values)
        frames.append(data(changed))
    return b"".join(frames) + draw(st.sampled_from([b"", DONE]))


def read(pieces: list[bytes]) -> tuple[list[NewEvent], str, str | None]:
    """Returns the events, the text of the end, and the code of a failure."""
    chunks = ChunkAccumulator(1)
    parser = ResponseParser(chunks)
    events: list[NewEvent] = []
    for piece in pieces:
        events += parser.feed(piece)
        if parser.done or parser.failure is not None:
            break
    else:
        events += parser.close()
    assert parser.done is (parser.failure is None)
    events += chunks.close()
    code = None if parser.failure is None else parser.failure.code
    return merge_drafts(events), chunks.text(), code


@fuzzed(150)
@given(streams(), cuts)
def test_any_stream_cut_anywhere_tells_the_same_and_ends_once(body: bytes, places: list[int]) -> None:
    events, text, code = read([body])
    assert read(cut(body, places)) == (events, text, code)
    assert code is None or code in CODES
    said = Transcript()
    said.add_all(Event(seq, draft.type, draft.encode()) for seq, draft in enumerate(events, 1))
    assert said.text() == text
