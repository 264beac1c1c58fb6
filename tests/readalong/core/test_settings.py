"""Settings from the environment: each bad one stops the start with a line that names it."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError
from redis.asyncio.connection import parse_url

from readalong.core.errors import BadSettings
from readalong.core.misspelt import misspelt
from readalong.core.settings import Settings, load

FIELDS = Settings.model_fields

BAD = [
    ("REDIS_URL", "http://127.0.0.1"),
    ("REDIS_URL", "127.0.0.1:6379"),
    ("REDIS_URL", ""),
    ("REDIS_URL", "redis://127.0.0.1:99999/0"),
    ("REDIS_URL", "unix://tmp/redis.sock"),
    ("REDIS_URL", "unix://:password@/"),
    ("SENTINELS", "host:port"),
    ("SENTINELS", "a:1,,b:2"),
    ("SENTINELS", "user@a:1"),
    ("PREFIX", ""),
    ("PREFIX", "with space"),
    ("PREFIX", "a{b}"),
    ("PREFIX", "x" * 65),
    ("MODEL", ""),
    ("MODEL", "  "),
    ("LOG_FORMAT", "xml"),
    ("ACCESS_LOG", "perhaps"),
    ("LOG_LEVEL", "loud"),
    ("ROOT_PATH", "chat"),
    ("ROOT_PATH", "//evil.example"),
    ("ROOT_PATH", "/a b"),
    ("ROOT_PATH", "/a?b"),
    ("HOSTS", "https://a.example"),
    ("HOSTS", "a.example:8000"),
    ("HOSTS", "a.*.example"),
    ("HOSTS", "a.example;b.example"),
    ("ORIGINS", "a.example"),
    ("ORIGINS", "https://a.example/"),
    ("ORIGINS", "https://a.example,https://B.example"),
    ("MAX_JOBS", "0"),
    ("MAX_JOBS", "10001"),
    ("MAX_JOBS", "ten"),
    ("MAX_JOBS", "1.5"),
    ("MAX_QUEUED", "-1"),
    ("MAX_QUEUED_BYTES", "-1"),
    ("MAX_BODY_BYTES", "1023"),
    ("MAX_ANSWER_BYTES", "65535"),
    ("MAX_RESPONSE_BYTES", "65535"),
    ("MAX_EXTRA_BYTES", "1023"),
    ("MAX_TOOL_CALLS", "0"),
    ("MAX_TOOL_CALL_BYTES", "1023"),
    ("ALLOWED_FIELDS", "api_base;api_key"),
    ("MODELS", "a\nb"),
    ("RESPONSES_MODELS", "a\nb"),
    ("PROVIDERS", "a=m:f;b=m:f"),
    ("PRICES", "demo=1"),
    ("CREDENTIALS", "m:f()"),
    ("MAX_ATTEMPTS", "0"),
    ("MAX_ATTEMPTS", "101"),
    ("ON_WORKER_LOST", "maybe"),
    ("ON_MODEL_DISCONNECT", "maybe"),
    ("MODEL_RETRIES", "-1"),
    ("MODEL_RETRIES", "21"),
    ("MODEL_PATIENCE", "-1"),
    ("INCLUDE_USAGE", "perhaps"),
    ("CONNECT_TIMEOUT", "0"),
    ("CONNECT_TIMEOUT", "inf"),
    ("FIRST_TOKEN_TIMEOUT", "-1"),
    ("FIRST_TOKEN_TIMEOUT", "nan"),
    ("STALL_TIMEOUT", "-0.1"),
    ("MODEL_KEEPALIVES", "perhaps"),
    ("JOB_TIMEOUT", "-1"),
    ("JOB_DEADLINE", "-1"),
    ("AI_SDK_RESET", "start"),
    ("CANCEL_ON_DISCONNECT", "true"),
    ("DISCONNECT_GRACE", "-1"),
    ("STANDSTILL", "-1"),
    ("STANDSTILL", "3601"),
    ("DRAIN_TIMEOUT", "-1"),
    ("LEASE", "0.4"),
    ("LEASE", "601"),
    ("WORKER_DISCONNECT_TIMEOUT", "-1"),
    ("CANCEL_POLL", "0"),
    ("CANCEL_POLL", "61"),
    ("POLL_INTERVAL", "0"),
    ("POLL_INTERVAL", "4"),
    ("SWEEP_INTERVAL", "0"),
    ("RETENTION", "0"),
    ("RETENTION", "soon"),
    ("KEEP_REQUEST", "perhaps"),
    ("THREAD_TTL", "0"),
    ("MAX_THREAD_ENTRIES", "0"),
    ("MAX_THREAD_BYTES", "1023"),
    ("MAX_THREAD_WAITING", "0"),
    ("JOB_TTL", "9"),
    ("IDEMPOTENCY_TTL", "0"),
    ("REDIS_TIMEOUT", "0"),
    ("REDIS_OUTAGE_TIMEOUT", "-1"),
    ("SSE_KEEPALIVE", "0"),
    ("HUB_HEARTBEAT", "0"),
    ("SEND_TIMEOUT", "0"),
    ("REQUEST_TIMEOUT", "-1"),
    ("MAX_CONNECTIONS", "-1"),
    ("REPLAY_BUFFER_BYTES", "4095"),
    ("FEED_LINGER", "-1"),
]
#: Fields that accept a zero; their descriptions must say its meaning.
ZERO = [
    "max_queued",
    "max_queued_bytes",
    "model_retries",
    "model_patience",
    "first_token_timeout",
    "stall_timeout",
    "job_timeout",
    "job_deadline",
    "disconnect_grace",
    "standstill",
    "drain_timeout",
    "worker_disconnect_timeout",
    "redis_outage_timeout",
    "request_timeout",
    "max_connections",
    "feed_linger",
]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("READALONG_"):
            monkeypatch.delenv(name)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load()
    assert str(settings.redis_url) == "redis://127.0.0.1:6379/0"
    assert settings.keys.prefix == "readalong"
    assert settings.max_jobs == 100


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_stops_with_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"READALONG_{name}", value)
    with pytest.raises(BadSettings) as caught:
        load()
    assert caught.value.message.startswith(f"READALONG_{name}: ")
    assert "\n" not in caught.value.message
    assert caught.value.code == "bad_settings"


def test_every_setting_that_can_be_wrong_is_tried() -> None:
    assert {name.lower() for name, _ in BAD} == set(FIELDS)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_LEASE", "x")
    monkeypatch.setenv("READALONG_POLL_INTERVAL", "y")
    with pytest.raises(BadSettings, match=r"READALONG_LEASE: .*; READALONG_POLL_INTERVAL: "):
        load()


@pytest.mark.parametrize("url", ["redis://:hunter2@host:99999/0", "http://:hunter2@host/0"])
def test_an_error_does_not_show_the_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_REDIS_URL", url)
    with pytest.raises(BadSettings) as caught:
        load()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__, "pydantic's own error shows the input"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hunter2@host:1/0", "redis://:***@host:1/0"),
        ("rediss://user:hunter2@host:1/0", "rediss://user:***@host:1/0"),
        ("redis://hunter2:hunter2@hunter2/0", "redis://hunter2:***@hunter2/0"),
        ("redis://:hun%40ter2@host:1/0", "redis://:***@host:1/0"),
        ("unix:///tmp/redis.sock?password=hunter2", "unix:///tmp/redis.sock"),
        ("unix://:hunter2@/tmp/redis.sock?db=2", "unix://:***@localhost/tmp/redis.sock?db=2"),
        ("redis://host:1/0?password=hunter2&db=3", "redis://host:1/0?db=3"),
    ],
)
def test_the_safe_address_shows_where_and_not_the_password(
    url: str, safe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READALONG_REDIS_URL", url)
    settings = load()
    assert settings.safe_redis_url == safe
    password = parse_url(str(settings.redis_url)).get("password")
    assert password is None or f":{password}@" not in settings.safe_redis_url


def test_the_settings_cannot_be_changed() -> None:
    settings = load()
    for name in Settings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, getattr(settings, name))


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_described_in_one_sentence_or_more(name: str) -> None:
    description = FIELDS[name].description
    assert description is not None
    assert description.endswith(".") or ": " in description
    assert len(description) > 15


@pytest.mark.parametrize("name", FIELDS)
def test_every_number_says_its_unit_or_what_it_counts(name: str) -> None:
    field = FIELDS[name]
    words = (field.description or "").lower()
    if field.annotation is float:
        assert "seconds" in words
    elif field.annotation is int:
        assert any(
            unit in words for unit in ("bytes", "streams", "jobs", "attempts", "calls", "connections", "entries")
        )


@pytest.mark.parametrize("name", FIELDS)
def test_exactly_the_numbers_that_take_a_zero_say_what_it_means(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    field = FIELDS[name]
    if field.annotation not in (int, float):
        assert name not in ZERO
        return
    monkeypatch.setenv(f"READALONG_{name.upper()}", "0")
    takes_zero = True
    try:
        load()
    except BadSettings:
        takes_zero = False
    assert takes_zero is (name in ZERO)
    assert ("0: " in (field.description or "")) is takes_zero


@pytest.mark.parametrize("name", FIELDS)
def test_every_default_is_itself_a_legal_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"READALONG_{name.upper()}", str(FIELDS[name].default))
    assert getattr(load(), name) == FIELDS[name].default


def test_an_unknown_variable_with_our_prefix_does_no_harm_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_DEMO", "1")
    load()
    [line] = misspelt({"READALONG_DEMO": "1", "DEMO": "1"})
    assert line.startswith("READALONG_DEMO is no setting and does nothing; ")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("READALONG_REDISURL", "READALONG_REDIS_URL"),
        ("READALONG_RETENTION_", "READALONG_RETENTION"),
        ("READALONG_MAX_JOB", "READALONG_MAX_JOBS"),
        ("readalong_redis_timeot", "READALONG_REDIS_TIMEOUT"),
    ],
)
def test_the_nearest_setting_to_a_misspelt_one_is_named(name: str, nearest: str) -> None:
    [line] = misspelt({name: "1"})
    assert line == f"{name} is no setting and does nothing; did you mean {nearest}?"


KUBERNETES = {
    "READALONG_SERVICE_HOST": "10.0.0.1",
    "READALONG_API_SERVICE_PORT": "8000",
    "READALONG_API_SERVICE_PORT_HTTP": "8000",
    "READALONG_PORT": "tcp://10.0.0.1:8000",
    "READALONG_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "READALONG_PORT_8000_TCP_ADDR": "10.0.0.1",
}


def test_what_is_a_setting_or_kubernetes_own_is_no_misspelt_one() -> None:
    """Kubernetes tells every container the addresses of its services, in variables with the services' names."""
    known = {f"READALONG_{name.upper()}": "1" for name in FIELDS} | {"readalong_lease": "1", "READALONG_URL": "x"}
    assert misspelt(known | KUBERNETES) == []


def test_blanks_around_a_models_name_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_MODEL", " gpt ")
    assert load().model == "gpt"


def test_the_repr_of_the_settings_holds_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of the settings does not contain the password."""
    monkeypatch.setenv("READALONG_REDIS_URL", "redis://:hunter2@127.0.0.1:6379/0")
    assert "hunter2" not in repr(load())


def test_sentinels_are_named_with_or_without_their_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_SENTINELS", "one:1, two,[::1]:3")
    assert load().sentinel_addresses == [("one", 1), ("two", 26379), ("::1", 3)]


def test_sentinels_do_not_go_with_a_unix_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READALONG_SENTINELS", "one:1")
    monkeypatch.setenv("READALONG_REDIS_URL", "unix:///tmp/redis.sock")
    with pytest.raises(BadSettings, match="READALONG_SENTINELS needs"):
        load()
