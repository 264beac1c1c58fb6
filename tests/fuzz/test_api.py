"""For any request, the API's response is one that its description (OpenAPI) names."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import httpx2
import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode, checks

from tests.e2e.conftest import assert_no_traceback
from tests.fuzz.effort import fuzzed
from tests.support.description import DOCUMENT
from tests.support.stack import Stack

#: Bytes of a body.
MOST: Final = 4096
#: Headers that HTTP itself, proxies and browsers need.
USUAL: Final = frozenset(
    {"cache-control", "connection", "content-length", "content-type", "date", "transfer-encoding", "x-accel-buffering"}
    | {"x-content-type-options"}
)
CHECKS: Final = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
#: Headers and parameters that a client, a proxy or a page may add to a valid request.
ADDED: Final[list[dict[str, str]]] = [
    {"Host": "evil.example"},
    {"Host": "[::1"},
    {"Origin": "https://evil.example"},
    {"Origin": "null", "Content-Type": ""},
    {"Content-Type": "text/plain"},
    {"Content-Encoding": "br"},
    {"Content-Encoding": "gzip"},
    {"Transfer-Encoding": "gzip"},
    {"Idempotency-Key": "one for all"},
    {"Idempotency-Key": "k" * 300},
    {"Accept": "text/event-stream"},
    {"Accept": "image/png"},
    {"Expect": "100-continue"},
    {"Range": "bytes=5-"},
    {"If-None-Match": "*"},
    {"Last-Event-ID": "1-x"},
]
#: Bodies that are sent in place of the drawn one.
BODIES: Final = st.binary(max_size=8) | st.sampled_from([b"{", b"\xff", b'{"messages": [7]}', b" " * (MOST + 1)])

described: Final = schemathesis.openapi.from_dict(DOCUMENT, config=schemathesis.Config())
cases: Final = st.one_of(*(described.as_strategy(mode) for mode in GenerationMode))
#: What is before a job's id in each part of a path that names a job.
PREFIXES: Final = {"job_id": "", "completion_id": "chatcmpl-", "response_id": "resp_", "chat_id": "", "run_id": ""}
#: Ids of present and past jobs.
known: Final[deque[str]] = deque(maxlen=8)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(settings={"READALONG_MAX_BODY_BYTES": str(MOST)}) as stack:
        yield stack
        assert_no_traceback(stack)


def check_events(case: Case[Any], text: str) -> None:
    """Each `data` of a stream is as the description says."""
    responses = DOCUMENT["paths"][case.operation.path][case.method.lower()]["responses"]
    inside = responses["200"]["content"]["text/event-stream"]["schema"]["contentSchema"]
    validator = Draft202012Validator({**inside, "components": DOCUMENT["components"]})
    for line in text.split("\n"):
        if line.startswith("data:") and (data := line.removeprefix("data:").strip()) != "[DONE]":
            validator.validate(json.loads(data))


@fuzzed(150)
@given(
    case=cases,
    added=st.just({}) | st.sampled_from(ADDED),
    body=st.none() | st.none() | BODIES,
    place=st.none() | st.integers(0, 7),
)
def test_each_answer_is_one_that_the_description_names(
    stack: Stack, case: Case[Any], added: dict[str, str], body: bytes | None, place: int | None
) -> None:
    """In status, content type, headers and schema. None is a server error."""
    if place is not None and place < len(known):
        for name, prefix in PREFIXES.items():
            if name in case.path_parameters:
                case.path_parameters[name] = prefix + known[place]
    more: dict[str, Any] = {} if body is None else {"data": body}
    answer = case.call(base_url=stack.url, headers=added, **more)
    # The checker would take the schema of a stream's text for that of each of its events.
    streams = answer.headers.get("content-type", [""])[0].startswith("text/event-stream")
    case.validate_response(answer, checks=CHECKS, excluded_checks=[checks.response_schema_conformance] * streams)
    if streams:
        check_events(case, answer.text)
    # A job that failed by its model is no error of the server's; its response names the job.
    failed = answer.status_code == httpx2.codes.NOT_IMPLEMENTED or "x-job-id" in answer.headers
    assert answer.status_code < 500 or failed, answer.text
    responses = case.operation.definition.raw["responses"]
    named = {name.lower() for name in responses[str(answer.status_code)].get("headers", {})}
    assert set(answer.headers) <= USUAL | named
    if answer.status_code == httpx2.codes.ACCEPTED:
        known.append(answer.json()["id"])
