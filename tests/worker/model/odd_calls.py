"""Tool calls as model servers cut, number and name them, with the expected calls."""

from __future__ import annotations

from typing import Final

from tests.worker.model.odd_answers import STOP, TWO, Oddity, call, calling, chunk, part

CALLS: Final[dict[str, list[Oddity]]] = {
    "calls: whose": [
        calling(
            "an id for each fragment",
            call(part(0, "a", "seek")),
            call(part(0, "b", None, '{"q":')),
            call(part(0, "c", None, "1}")),
        ),
        calling(
            "a second id",
            call(part(0, "a", "seek", "")),
            call(part(0, "b", None, '{"q":')),
            call(part(0, "b", None, "1}")),
        ),
        calling("an id again", call(part(0, "a", "seek", '{"q"')), call(part(0, "a", "seek", ":1}"))),
        calling("an id that is empty later", call(part(0, "a", "seek", '{"q"')), call(part(0, "", "", ":1}", type=""))),
        calling(
            "no index", call(part(None, "a", "seek", '{"q":1}')), call(part(None, "b", "seek", '{"q":2}')), calls=TWO
        ),
        calling(
            "index 0 and new ids",
            call(part(0, "a", "seek", '{"q":1}')),
            call(part(0, "b", "seek", "")),
            call(part(0, None, None, '{"q":2}')),
            calls=TWO,
        ),
        calling(
            "index 0 and empty ids",
            call(part(0, "", "seek", '{"q":1}')),
            call(part(0, "", "seek", '{"q":2}')),
            calls=TWO,
        ),
        calling(
            "two in a chunk", call(part(None, "", "seek", '{"q":1}'), part(None, "", "seek", '{"q":2}')), calls=TWO
        ),
        calling(
            "one id for two", call(part(0, "a", "seek", '{"q":1}')), call(part(1, "a", "seek", '{"q":2}')), calls=TWO
        ),
        calling(
            "an index for each fragment",
            call(part(0, "a", "seek", "")),
            call(part(1, None, None, '{"q":')),
            call(part(2, None, None, "1}")),
        ),
        calling("two finish reasons", call(part(0, "a", "seek", '{"q":1}'), finish="tool_calls"), STOP),
    ],
    "calls: names": [
        calling(
            "in pieces", call(part(0, "a", "se")), call(part(0, None, "ek", "")), call(part(0, None, None, '{"q":1}'))
        ),
        calling(
            "growing", call(part(0, "a", "se", "")), call(part(0, "a", "seek", "")), call(part(0, "a", None, '{"q":1}'))
        ),
        calling("later", call(part(0, "a", None, '{"q":')), call(part(0, None, "seek", "1}"))),
        calling(
            "null later",
            call(part(0, "a", "seek", '{"q"')),
            call({"index": 0, "function": {"name": None, "arguments": ":1}"}}),
        ),
    ],
    "calls: arguments": [
        calling("an object", call(part(0, "a", "seek", {"q": 1}))),
        calling(
            "an empty object first",
            call(part(0, "a", "seek", {})),
            call(part(0, None, None, '{"q":')),
            call(part(0, None, None, "1}")),
        ),
        calling("an empty text first", call(part(0, "a", "seek", "{}")), call(part(0, None, None, '{"q":1}'))),
        calling(
            "once more whole",
            call(part(0, "a", "seek", '{"q":')),
            call(part(0, None, None, "1}")),
            call(part(0, None, None, '{"q":1}')),
        ),
        calling("broken", call(part(0, "a", "seek", '{"q":')), calls=(("seek", None),)),
    ],
    "calls: shapes": [
        calling(
            "a lone object",
            chunk({"tool_calls": part(0, "", "seek", '{"q"')}),
            chunk({"tool_calls": part(0, "", "seek", ":1}")}),
        ),
        calling("a number of its own", call(part(0, "a", "seek", '{"q":1}', seq=7))),
        calling("no function around it", call({"index": 0, "id": "a", "name": "seek", "arguments": '{"q":1}'})),
        calling(
            "a custom tool",
            call({"index": 0, "id": "a", "type": "custom", "custom": {"name": "run", "input": ""}}),
            call({"index": 0, "custom": {"input": "1+"}}),
            call({"index": 0, "custom": {"input": "1"}}),
            calls=(("run", "1+1"),),
        ),
        calling(
            "a type, an id and a number in the older form",
            chunk({"function_call": {"type": "function", "id": "a", "seq": 7, "name": "seek", "arguments": '{"q":1}'}}),
            calls=(),
            keeps=("function_call seek", "done seek"),
        ),
        calling(
            "an empty custom",
            call(part(0, "a", "seek", "", custom={})),
            call(part(0, None, None, '{"q":1}', custom={})),
        ),
        calling(
            "a signature",
            call(part(0, "a", "seek", '{"q":1}', extra_content={"google": {"thought_signature": "c2ln"}})),
            keeps=("tool_call_delta c2ln", "tool_call c2ln", "done c2ln"),
        ),
    ],
}
