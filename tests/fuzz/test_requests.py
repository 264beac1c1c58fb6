"""For any body of a client: the model gets its meaning, or the client gets a description of the error."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import httpx2
import orjson
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from readalong.api import error_handlers
from readalong.api.http.request_body import read_json
from readalong.api.problems import Problem
from readalong.api.submission.chat_request import ChatRequest
from readalong.api.submission.gateway_fields import is_gateway_field
from readalong.api.submission.submitter import _check_body
from readalong.core.options import resolve
from readalong.core.settings import Settings
from readalong.store.submission import Submission
from tests.fuzz.effort import fuzzed

#: Bytes of a body, and of a response that describes its error.
MOST: Final = 50_000
LONGEST_ANSWER: Final = 8192
#: Statuses of errors without fields: no JSON, no UTF-8, too large.
WITHOUT_FIELD: Final = (400, 413)

#: JSON that parsers may read differently.
SOUND: Final = [
    *("1e-400", "-0", "-0.0", "1E+2", "18446744073709551615", "-9223372036854775808", "31536000.5", "true"),
    *("0.1234567890123456789012345678901234567890", "2.2250738585072011e-308", "5e-324", "1e-4", "1.0", "null"),
    *('"\\ud83e\\udd89"', '"\\u0000"', '"\u2028"', '{"a":1,"a":2}', '{"a":1,"\\u0061":2.0}', '{"":{}}'),
    *("[" * depth + "]" * depth for depth in (100, 126, 127)),
    '"' + "x" * 3000 + '"',
]
#: Bodies that every parser should refuse.
UNSOUND: Final = [
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "01", "1.", "+1", "0x1", "18446744073709551616"),
    *("-9223372036854775809", "9" * 400, '"\\ud800"', '"\\udc00\\ud83d"', '"\\x"', '"\t"', "'x'", '"', "[1,]", "{"),
    *("tru", "", "//", "[" * 2000, *("[" * depth + "]" * depth for depth in (128, 200))),
    *('{"a":' * depth + "1" + "}" * depth for depth in (126, 128)),
    "[" + "1," * 1001 + "1]",
]
json_: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    # No half of a surrogate pair: each is text.
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
sound: Final = (
    json_.map(json.dumps) | json_.map(lambda value: json.dumps(value, ensure_ascii=False)) | st.sampled_from(SOUND)
)
#: Fields of the model, and fields of readalong with values that a model may accept.
fields: Final = st.one_of(
    st.tuples(st.sampled_from(["temperature", "seed", "store", "tool_choice"]) | st.text(max_size=3), sound),
    st.tuples(
        st.sampled_from(["deadline", "cancel_on_disconnect", "n"]),
        (st.floats(0, 100_000) | st.integers(0, 100_000)).map(json.dumps),
    ),
    st.tuples(st.just("deadline"), st.sampled_from(SOUND)),
    st.tuples(st.just("metadata"), st.dictionaries(st.text(max_size=4), json_, max_size=3).map(json.dumps)),
    st.just(("store", "true")),
)
names: Final = st.sampled_from(
    [*ChatRequest.model_fields, "tools", "stop", "n" * 9000, "api_key", "aws_" + "x" * 9000]
) | st.text(max_size=3)


def of(pairs: list[tuple[str, str]]) -> str:
    """An object, in which a name may come twice."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}"


anything: Final = (
    sound | st.sampled_from(UNSOUND) | st.lists(st.tuples(names, sound | st.sampled_from(UNSOUND)), max_size=3).map(of)
)
messages: Final = st.sampled_from(
    ['[{"role":"user","content":"x"}]', '[{"content":[{"type":"text","text":"\\ud83e\\udd89"}]}]', "[{}]"]
) | st.builds(lambda value: of([("content", value)]), sound).map(lambda message: f"[{message}]")


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Close to valid: half of the bodies are valid; the others have a wrong field or a wrong byte."""
    pairs = [("messages", draw(messages)), *draw(st.lists(fields, max_size=4))]
    wrong = draw(st.integers(0, 5))
    if wrong == 0:
        pairs += draw(st.lists(st.tuples(names, anything), min_size=1, max_size=3))
    raw = of(pairs).encode(errors="surrogatepass")
    if wrong == 1:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=3)) + raw[at + draw(st.integers(0, 3)) :]
    elif wrong == 2:
        raw = draw(anything).encode(errors="surrogatepass")
    return raw


def meant(raw: bytes) -> dict[str, Any]:
    """The body as a parser sees it that rounds no integer."""
    found: dict[str, Any] = json.loads(raw)
    return found


#: The request that the route below took, and the part that the worker reads.
taken: Final[list[tuple[ChatRequest, bytes]]] = []
app: Final = FastAPI()
error_handlers.install(app)


@app.post("/")
async def take(request: Request) -> None:
    """Reads and checks a body as the API's routes do."""
    whole, body = await read_json(request, MOST)
    wish, _, rest = _check_body((body, ()))
    taken.append((wish, whole if rest is None else rest))


async def asked(raw: bytes) -> httpx2.Response:
    taken.clear()
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client:
        return await client.post("/", content=raw, headers={"Content-Type": "application/json"})


def as_it_is(value: Any) -> str:
    """Distinguishes 1 from 1.0 and from true, and ignores the order of names."""
    return json.dumps(value, sort_keys=True)


@fuzzed(800)
@given(bodies())
def test_a_body_reaches_the_worker_as_it_was_meant_or_is_refused_by_name(raw: bytes) -> None:
    answer = asyncio.run(asked(raw))
    if not taken:
        problem = Problem.model_validate_json(answer.content)
        assert 400 <= answer.status_code < 500
        assert (problem.field is None) == (answer.status_code in WITHOUT_FIELD)
        assert len(answer.content) <= LONGEST_ANSWER
        return
    [(wish, stored)] = taken
    body = meant(raw)
    assert not any(is_gateway_field(name) for name, value in body.items() if value is not None)
    if body.get("store") is not True:
        body.pop("metadata", None)
    got = orjson.loads(stored)
    if body.get("store") is not True:
        got.pop("metadata", None)
    assert as_it_is(got) == as_it_is(body)
    assert orjson.loads(orjson.dumps(got)) == got
    assert_terms(wish)


def assert_terms(wish: ChatRequest) -> None:
    """The record has the client's job options."""
    terms = resolve(
        Settings(),
        chat=False,
        on_worker_lost=wish.on_worker_lost,
        deadline=wish.deadline,
        cancel_on_disconnect=wish.cancel_on_disconnect,
    )
    metadata = orjson.dumps(wish.metadata or {})
    record = Submission("A" * 22, wish.model or "m", b"{}", metadata, "d", terms=terms).record(1_000_000)
    assert record.metadata == (wish.metadata or {})
    assert (record.deadline is None) == (wish.deadline is None)
    assert record.on_worker_lost == (wish.on_worker_lost or "retry")
    read_answer_async = wish.cancel_on_disconnect
    assert record.cancel_on_disconnect is (read_answer_async is not None and read_answer_async is not False)
