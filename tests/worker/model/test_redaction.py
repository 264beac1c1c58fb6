"""The key is masked, however a server writes it and wherever the server puts it."""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from readalong.core.settings import Settings
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.redaction import MAX_SHOWN, RedactingFilter, Redactor
from tests.readalong.helpers import command
from tests.worker.helpers import House, settings_for, text_of, working
from tests.worker.model.chunk_helpers import add, chunk
from tests.worker.model.odd_answers import DONE, data, head
from tests.worker.model.test_oddities import serving

KEY = "sk-proj-Tq3vXz81LmNw5RbYc7Ud2KpE"
ORGANISATION = "org-8Zk2Wq0PbLx4"
PASSWORD = "hunter2-of-the-proxy"
HALF = len(KEY) // 2


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


#: The forms in which a server may write the key.
FORMS: dict[str, str] = {
    "as it is": KEY,
    "in capitals": KEY.upper(),
    "in small letters": KEY.lower(),
    "in an address": quote(KEY.replace("-", "/"), safe="").replace("%2F", "%2D"),
    "in an address, each letter": "".join(f"%{ord(char):02X}" for char in KEY),
    "in an address twice": "".join(f"%25{ord(char):02x}" for char in KEY),
    "in JSON's escapes": escaped(KEY),
    "in JSON's escapes twice": escaped(KEY).replace("\\", "\\\\"),
    "in HTML": "".join(f"&#x{ord(char):x};" for char in KEY),
    "in base64": base64.b64encode(KEY.encode()).decode(),
    "in base64 after a letter": base64.urlsafe_b64encode(b"x" + KEY.encode()).decode(),
    "in base64 among others": base64.b64encode(b'{"k":"' + KEY.encode() + b'"}').decode(),
    "in base16": KEY.encode().hex(),
    "spaced": " ".join(KEY),
    "over lines": "\n".join((KEY[:9], KEY[9:20], KEY[20:])),
    "wide": "".join(chr(ord(char) + 0xFEE0) for char in KEY),
    "backwards": KEY[::-1],
    "its first half": KEY[:HALF],
    "its second half": KEY[HALF:],
    "its middle": KEY[9:22],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_text_is_told_without_the_key_and_with_its_other_words(form: str) -> None:
    redactor = Redactor([KEY, ORGANISATION])
    told = redactor.redact(f"No: <{FORMS[form]}> is wrong.")
    assert re.fullmatch(r"No: <\w{0,8}\*\*\*[\w=]{0,6}> is wrong\.", told), told


@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(list(FORMS.values())))
def test_wherever_it_stands_it_is_found(before: str, after: str, form: str) -> None:
    told = Redactor([KEY]).redact(f"{before} {form} {after}")
    assert form not in told


@given(st.text(max_size=300))
def test_a_text_without_it_stays_as_it_is(text: str) -> None:
    assert Redactor([KEY, ORGANISATION]).redact(text) == text


def test_a_key_that_says_nothing_is_none_and_a_short_one_is_found_as_it_is() -> None:
    assert Redactor(["none", "ollama", "k"]).redact("Ollama knows none, ok") == "Ollama knows none, ok"
    assert Redactor(["sk-1234"]).redact("bad key SK-1234, 1234") == "bad key ***, 1234"


def test_a_text_is_cleaned_before_it_is_cut() -> None:
    redactor = Redactor([KEY])
    for size in (MAX_SHOWN - 5, 8192 - 5):
        told = redactor.redact_excerpt("x" * size + KEY)
        assert "sk" not in told
        assert len(told) <= MAX_SHOWN
    # Each key becomes shorter, so that the excerpt reaches the end of the text that was read.
    assert "Tq3" not in redactor.redact_excerpt((escaped(KEY) * 200)[:16_000])


def test_values_are_cleaned_in_their_texts_and_names_and_all_together() -> None:
    clean = Redactor([KEY]).redact_value
    assert clean({"a": [1, None, f"<{KEY}>"], KEY: True}) == {"a": [1, None, "<***>"], "***": True}
    assert clean([KEY[:HALF], KEY[HALF:]]) == ["***", "***"]
    assert clean({str(at): KEY[at : at + 3] for at in range(100, 130)}) == {str(at): "" for at in range(100, 130)}
    assert clean([KEY[at : at + 3] for at in range(0, len(KEY), 3)]) == "***"
    same = {"created": 123456, "fingerprint": "fp_1"}
    assert clean(same) is same


def test_a_log_has_none_of_it_in_lines_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RedactingFilter(Redactor([KEY])))
    logger = logging.getLogger("another.library")
    logger.warning("POST %s", f"https://{KEY}@host/")
    try:
        raise ValueError(KEY)
    except ValueError:
        logger.exception("it broke")
    assert "POST https://***@host/" in caplog.text
    assert "ValueError: ***" in caplog.text
    assert KEY not in caplog.text


def test_what_a_model_says_itself_costs_no_look_and_stays() -> None:
    looks = []

    def clean(value: Any) -> Any:
        looks.append(value)
        return value

    chunks = ChunkAccumulator(clean=clean)
    add(chunks, chunk({"content": "a"}, id="c1"))
    first = len(looks)
    events = add(chunks, *[chunk({"content": KEY}, id="c1")] * 100)
    assert len(looks) == first
    assert [event.fields["content"] for event in events] == [KEY] * 100


@pytest.fixture
def with_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", ORGANISATION)
    monkeypatch.setenv("ftp_proxy", f"http://me:{PASSWORD}@proxy.test:1")


def answers_with(said: str) -> dict[str, list[bytes]]:
    """Returns responses with `said` in each place that is not the model's own text, by the model's name."""
    stop = chunk({"content": "Owls"}, finish="stop")
    error = {"error": {"message": f"no: {said}"}}
    part = {"index": 0, "id": said, "signature": said, "function": {"name": said, "arguments": "{}"}}
    return {
        "refusal": [head("application/json", "400 No"), orjson.dumps(error)],
        "gateway": [head("application/json", "503 No"), orjson.dumps(error)],
        "status line": [head("application/json", f"400 {said}"), b"{}"],
        "error": [head(), data(error)],
        "event": [head(), b"event: error\ndata: " + orjson.dumps(said) + b"\n\n"],
        "chunk": [head(), data(orjson.dumps(said))],
        "kind": [head(f"a/{said}"), b"<p>"],
        "long kind": [head("a/" + "b" * 70 + said), b"<p>"],
        "text": [head("text/plain"), said.encode()],
        "field": [head(), data({**stop, "x": {"y": [said]}}), DONE],
        "name": [head(), data({**stop, said: said}), DONE],
        "delta": [head(), data(chunk({"content": "Owls", "z": said}, finish="stop")), DONE],
        "usage": [head(), data({**stop, "usage": {"completion_tokens": 1, "by": said}}), DONE],
        "reason": [head(), data(chunk({"content": "Owls"}, finish=said)), DONE],
        "call": [head(), data(chunk({"tool_calls": [part]}, finish="tool_calls")), DONE],
        "logprobs": [
            head(),
            data({"choices": [{**stop["choices"][0], "logprobs": {"content": [], "by": said}}]}),
            DONE,
        ],
    }


@pytest.mark.usefixtures("with_secrets")
@pytest.mark.parametrize("secret", [KEY, KEY[:HALF], base64.b64encode(KEY.encode()).decode(), ORGANISATION, PASSWORD])
async def test_neither_redis_nor_the_log_has_it_wherever_a_server_puts_it(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, "httpx2")  # a worker's filter cleans its lines
    answers = answers_with(secret)

    async def answer(name: str) -> AsyncIterator[bytes]:
        for piece in answers[name]:
            yield piece

    settings = settings_for(str(house.settings.redis_url), model_retries=0)
    async with serving(monkeypatch, answer), working(settings):
        jobs = {name: await house.submit(name) for name in answers}
        ended = {name: await house.ended(job_id) for name, job_id in jobs.items()}
    lines = b"\n".join(event.data for events in ended.values() for event in events)
    for job_id in jobs.values():
        lines += str(await command(house.redis, "HGETALL", house.keys.job(job_id))).encode()
    said = lines.decode() + caplog.text
    assert secret not in said
    assert secret[4:20] not in said
    assert said.count("***") >= 2 * len(answers)
    assert text_of(ended["field"]) == "Owls"


@pytest.mark.usefixtures("with_secrets")
async def test_what_the_model_says_itself_is_not_changed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, reasoning, refusal and arguments are the model's own."""

    async def answer(_: str) -> AsyncIterator[bytes]:
        call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": orjson.dumps({"k": KEY}).decode()}}
        yield head() + data(chunk({"content": KEY, "reasoning": KEY, "refusal": KEY, "tool_calls": [call]}))
        yield data(chunk({}, finish="stop")) + DONE

    async with serving(monkeypatch, answer), working(settings_for(str(house.settings.redis_url))):
        events = await house.ended(await house.submit("m"))
    said = {event.type: event.fields() for event in events}
    assert [said[kind]["content"] for kind in ("content", "reasoning", "refusal", "done")] == [KEY] * 4
    assert said["tool_call"]["arguments"] == {"k": KEY}


@pytest.mark.usefixtures("with_secrets")
async def test_the_secrets_of_a_process_are_all_that_opens_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://a-long-user:p4ss-w0rd-1@host/v1?code=q-7788-9900")
    model = OpenAIProvider(Settings(), Redactor())
    secrets = (KEY, ORGANISATION, PASSWORD, "a-long-user", "p4ss-w0rd-1", "q-7788-9900")
    told = [model.redactor.redact_excerpt(f"({secret})") for secret in secrets]
    basic = base64.b64encode(b"a-long-user:p4ss-w0rd-1").decode()
    assert told == ["(***)"] * len(secrets)
    assert "YS1sb25n" not in model.redactor.redact_excerpt(basic)
    await model.close()
