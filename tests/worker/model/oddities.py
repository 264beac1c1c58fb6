"""Responses that differ from OpenAI's stream, by kind, with the expected end of the job.

`docs/models.md` has a row for each kind.
"""

from __future__ import annotations

import gzip
from typing import Final

import orjson

from tests.worker.model.odd_answers import (
    ALL,
    ANSWER,
    CUT,
    DONE,
    HOLD,
    HOOT,
    LINES,
    MESSAGE,
    NOTHING,
    OWLS,
    STOP,
    Oddity,
    both,
    chunk,
    data,
    failed,
    head,
    only,
    say,
    sse,
    whole,
)
from tests.worker.model.odd_calls import CALLS

ODDITIES: Final[dict[str, list[Oddity]]] = {
    "no choice": [
        sse("done alone", DONE, **NOTHING),
        sse("an object and done", {"id": "x", "note": "quota is over"}, DONE, **(NOTHING | {"says": "quota is over"})),
        whole("an empty object", {}, **NOTHING),
        whole("no choices", {"id": "", "choices": [], "usage": None}, **NOTHING),
        whole("a text", b"The service starts.", "text/plain", **(NOTHING | {"says": "The service starts."})),
        sse("a cut before the finish reason", OWLS, **(CUT | {"content": "Owls"})),
    ],
    "errors": [
        sse("an object", OWLS, {"error": {"message": "full"}}, **failed("full", content="Owls")),
        sse("a text", OWLS, {"error": "full"}, DONE, **failed("full", content="Owls")),
        sse("a list", {"error": [{"message": "full"}]}, DONE, **failed("full")),
        sse("a list around it", [{"error": {"message": "full"}}], **failed("full")),
        sse("an event", OWLS, b'event: error\ndata: {"message":"full"}\n\n', **failed("full", content="Owls")),
        sse("an event of text", OWLS, b"event: error\ndata: It broke.\n\n", **failed("It broke.", content="Owls")),
        sse(
            "a field",
            OWLS,
            b'error: {"code":400,"message":"full"}\n\n',
            **failed("full", "model_bad_request", content="Owls", may_help=False),
        ),
        sse("a field first", b'error: {"message":"full"}\n\n', **failed("full")),
        sse("a bare line", OWLS, b'{"error":{"message":"full"}}\n\n', **failed("full", content="Owls")),
        sse("a choice", OWLS, chunk(finish="error", error={"message": "full"}), **failed("full", content="Owls")),
        sse("a finish reason", OWLS, chunk(finish="error"), DONE, **failed("`error`", content="Owls")),
        sse("a detail", {"detail": "not ready"}, DONE, **failed("not ready")),
        whole("a detail whole", {"detail": "who are you"}, **failed("who are you")),
        whole("a status", {"choices": None, "base_resp": {"status_code": 1004, "status_msg": "no"}}, **failed("no")),
        whole("a code", {"code": "Throttled", "message": "later", "request_id": "r"}, **failed("later")),
        sse("a 4xx", {"error": {"code": "404", "message": "no such"}}, **failed("no such", may_help=False)),
        sse("a 5xx", {"error": {"code": 503, "message": "later"}}, **failed("later", may_help=True)),
    ],
    **CALLS,
    "one text": [
        sse("numbered by chunk", say("Owls"), say(" hoot", index=1), chunk(None, "stop", index=2), DONE),
        sse("no number", {"choices": [{"delta": {"content": "Owls hoot"}, "finish_reason": "stop"}]}),
        sse(
            "a message beside",
            both({"content": "Owls"}, {"content": "Owls"}),
            both({"content": " hoot"}, MESSAGE),
            both({"content": ""}, MESSAGE, "stop"),
        ),
        sse(
            "a message of the chunk",
            both({"content": "Owls"}, {"content": "Owls"}),
            both({"content": " hoot"}, {"content": " hoot"}, index=1),
            both({}, {"content": ""}, "stop", 2),
        ),
        sse("a message after", OWLS, HOOT, both({}, MESSAGE, "stop"), DONE),
        sse("a message after without its blanks", say("Owls"), say(" hoot"), only({"content": "Owls  hoot"}, "stop")),
        sse("a message that grows", only({"content": "Owls"}), only(MESSAGE), only(MESSAGE, "stop")),
        sse("messages of pieces", only({"content": "Owls"}), only({"content": " hoot"}, "stop")),
        sse(
            "text in the choice",
            {"choices": [{"text": "Owls"}]},
            {"choices": [{"text": " hoot", "finish_reason": "stop"}]},
        ),
        sse(
            "parts",
            chunk({"content": [{"type": "text", "text": "Owls"}]}),
            chunk({"content": {"type": "text", "text": " hoot"}}),
            STOP,
        ),
    ],
    "kept": [
        sse(
            "sound",
            *(
                chunk({"audio": one})
                for one in ({"id": "a1"}, {"transcript": "hu"}, {"data": "QUE="}, {"data": "QUE="}, {"expires_at": 17})
            ),
            STOP,
            content="",
            keeps=("content a1", '"hu"', "QUE=", "QUE=", ":17}"),
        ),
        sse(
            "pictures",
            *(chunk({"images": [{"image_url": {"url": f"data:{one}"}}]}) for one in "abc"),
            OWLS,
            HOOT,
            STOP,
            keeps=("content data:a", "content data:b", "content data:c"),
        ),
        sse(
            "annotations",
            OWLS,
            HOOT,
            *(chunk({"content": "", "annotations": [{"url": f"e.test/{one}"}]}) for one in "abc"),
            STOP,
            DONE,
            keeps=("e.test/a", "e.test/b", "e.test/c"),
        ),
        sse(
            "references",
            chunk({"content": [{"type": "text", "text": "Owls"}, {"type": "reference", "ids": [3]}]}),
            HOOT,
            STOP,
            keeps=('"ids":[3]',),
        ),
        sse(
            "of the chunk",
            {**chunk(), "sources": ["s1"]},
            {**chunk(), "sources": ["s2"]},
            OWLS,
            HOOT,
            STOP,
            keeps=("s1", "s2"),
        ),
        sse(
            "sealed reasoning",
            *(
                chunk({"reasoning_details": [one]})
                for one in (
                    {"type": "reasoning.text", "text": "hm"},
                    {"type": "reasoning.text", "signature": "s1"},
                    {"type": "reasoning.encrypted", "data": "s2"},
                )
            ),
            OWLS,
            HOOT,
            STOP,
            reasoning="hm",
            keeps=("s1", "s2"),
        ),
    ],
    "reasoning": [
        sse(
            "by its names",
            chunk({"reasoning_content": "h"}),
            chunk({"reasoning": "m"}),
            OWLS,
            HOOT,
            STOP,
            reasoning="hm",
        ),
        sse(
            "an object",
            chunk({"reasoning": {"content": "h"}}),
            chunk({"reasoning_content": {"text": "m"}}),
            OWLS,
            HOOT,
            STOP,
            reasoning="hm",
        ),
        sse(
            "among the parts",
            chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
            OWLS,
            HOOT,
            STOP,
            reasoning="hm",
        ),
    ],
    "said": [
        sse("no done", OWLS, HOOT, STOP),
        sse("no finish reason", OWLS, HOOT, DONE),
        sse("a blank after done", OWLS, HOOT, STOP, b"data: [DONE] \n\n"),
        sse("done in quotes", OWLS, HOOT, STOP, b'data: "[DONE]"\n\n'),
        sse("no line end after done", OWLS, HOOT, STOP, b"data: [DONE]"),
        sse("a last event without its end", OWLS, HOOT, b"data: " + orjson.dumps(STOP)),
        sse("null in quotes", say("Owls", finish="null"), say(" hoot", finish="null"), DONE),
        sse("a finish reason in each", say("Owls", finish="stop"), say(" hoot", finish="stop")),
        sse("rubbish after the end", OWLS, HOOT, STOP, b"data: half a\n\n"),
        Oddity("no last chunk", [head(Content_Length="9999"), b"".join(map(data, (OWLS, HOOT, STOP)))]),
        sse("silence", OWLS, HOOT, STOP, HOLD),
    ],
    "keep-alives": [
        sse("bare data", OWLS, b"data:\n\n", b"data: \n\n", b"data\n\n", HOOT, STOP, DONE),
        sse("pings", OWLS, b"event: ping\n\n", b'event: ping\ndata: {"type":"ping"}\n\n', HOOT, STOP, DONE),
        sse("words", OWLS, b"event: keepalive\ndata: ping\n\n", HOOT, STOP, DONE),
        sse("comments", b": working\n\n", OWLS, b":\n\n", HOOT, STOP, DONE),
        sse(
            "empty chunks",
            {"choices": None},
            chunk(),
            {"id": "x"},
            {"choices": [{"index": 0, "delta": None}]},
            OWLS,
            HOOT,
            STOP,
        ),
        whole("blank lines before JSON", b"\n" * 30 + orjson.dumps(ANSWER)),
    ],
    "lines": [
        sse("CR LF", ALL.replace(b"\n", b"\r\n")),
        sse("no blank after the colon", ALL.replace(b"data: ", b"data:")),
        sse("no empty lines", ALL.replace(b"\n\n", b"\n")),
        sse("a byte order mark", b"\xef\xbb\xbf" + ALL),
        sse("byte by byte", *(ALL[at : at + 1] for at in range(len(ALL)))),
        sse(
            "half a surrogate pair",
            b'data: {"choices":[{"delta":{"content":"\\ud83d"},"finish_reason":"stop"}]}\n\n',
            content="\ufffd",
        ),
        sse(
            "NaN",
            b'data: {"choices":[{"delta":{"content":"Owls"},"logprobs":[NaN,-Infinity]}]}\n\n',
            HOOT,
            STOP,
        ),
    ],
    "content types": [
        sse("JSON's", ALL, kind="application/json"),
        sse("a page's", ALL, kind="text/html; charset=UTF-8"),
        sse("two", ALL, kind="application/json, text/event-stream"),
        sse("an unknown one", ALL, kind="application/event-stream"),
        sse("none", ALL, kind=""),
        sse("JSON a line", LINES, kind="application/x-ndjson"),
        sse("JSON a line as a stream", LINES),
        whole("JSON in place of a stream", ANSWER),
        whole("JSON as a stream", orjson.dumps(ANSWER, option=orjson.OPT_INDENT_2), "text/event-stream"),
        whole("JSON in a list", [ANSWER], "text/plain"),
        whole("a page", b"<!doctype html><p>Sign in", "text/html", **(NOTHING | {"may_help": False})),
    ],
    "empty": [
        Oddity("204", [head("", "204 No Content")], **(NOTHING | {"says": "204"})),
        Oddity("205", [head("", "205 Reset", Content_Length="0")], **(NOTHING | {"says": "205"})),
        Oddity("304", [head("", "304 Not Modified")], **failed("304")),
        Oddity("a length of 0", [head("application/json", Content_Length="0")], **NOTHING),
        sse("no byte", **NOTHING),
    ],
    "refusals": [
        whole(
            "a list", [{"error": {"message": "bad key"}}], status="400 Bad", **failed("bad key", "model_bad_request")
        ),
        whole("a detail", {"detail": "not loaded"}, status="400 Bad", **failed("not loaded", "model_bad_request")),
        whole(
            "FastAPI's list",
            {"detail": [{"loc": ["body", "n"], "msg": "too many"}]},
            status="422 Bad",
            **failed("body.n: too many", "model_bad_request"),
        ),
        whole("plain text", b"too long", "text/plain", "400 Bad", **failed("too long", "model_bad_request")),
        whole("a page", b"<p>none", "text/html", "404 Gone", **failed("404: Gone", "model_not_found")),
    ],
    "usage": [
        sse(
            "in each chunk",
            {**OWLS, "usage": {"total_tokens": 1}},
            {**HOOT, "usage": {"total_tokens": 2}},
            STOP,
            usage={"total_tokens": 2},
        ),
        sse(
            "empty at the end",
            {**OWLS, "usage": {"total_tokens": 2}},
            HOOT,
            STOP,
            {"choices": [], "usage": {}},
            usage={"total_tokens": 2},
        ),
        sse("Groq's", OWLS, HOOT, {**STOP, "x_groq": {"usage": {"total_tokens": 2}}}, usage={"total_tokens": 2}),
        sse(
            "Azure's first chunk",
            {"id": "", "choices": [], "prompt_filter_results": [1]},
            OWLS,
            HOOT,
            STOP,
            keeps=("prompt_filter_results",),
        ),
    ],
    "HTTP": [
        Oddity("a header of 10 KB", [head(Content_Security_Policy="a" * 10_000), ALL]),
        Oddity("HTTP/1.0", [b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", ALL]),
        Oddity("gzip", [head(Content_Encoding="gzip"), gzip.compress(ALL)]),
        Oddity("early hints", [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head(), ALL]),
    ],
}
