"""One frozen settings object, read from the environment once.

Each field gives its unit, its default and what zero means. The environment's name is the field's, in capitals,
with `READALONG_` in front. The model is reached with the openai package's own variables, which are not repeated here.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Final, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import AnyUrl, Field, UrlConstraints, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from readalong.core.errors import BadSettings
from readalong.core.keys import Keys
from readalong.core.prices import PriceList

#: A socket's URL with a user or a password and, as is usual, no host.
_SOCKET_WITH_USER = re.compile(r"^(unix://[^/?#]*@)/", re.IGNORECASE)

#: A name in a request's Host, or `*.` and a name for all below it.
_HOST_NAME: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")

RedisUrl = Annotated[AnyUrl, UrlConstraints(allowed_schemes=["redis", "rediss", "unix"])]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What an operator can set. Build it with `load()`, which turns pydantic's errors into one clear line."""

    model_config = SettingsConfigDict(env_prefix="READALONG_", frozen=True, extra="ignore")

    redis_url: RedisUrl = Field(
        default=AnyUrl("redis://127.0.0.1:6379/0"),
        description="Redis: redis://[user]:password@host:port/database, rediss://… or "
        "unix://[user]:password@/path?db=database.",
        repr=False,  # it may hold a password
    )
    sentinels: str = Field(
        default="",
        description="Redis' Sentinels: host:port,host:port. Then REDIS_URL's host is their name of it.",
    )
    prefix: str = Field(
        default="readalong",
        pattern=r"^[A-Za-z0-9_.:-]{1,64}$",
        description="First part of every key; two deployments with two prefixes share a Redis.",
    )
    model: str = Field(default="gpt-5-mini", min_length=1, description="Model of a job that names none.")
    models: str = Field(
        default="",
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Models that `/v1/models` lists: name,name; empty: the one of a job that names none.",
    )
    responses_models: str = Field(
        default="",
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Models that are asked by POST /responses in place of chat completions: name,name; * is any text. "
        "The same for APIs and workers.",
    )
    providers: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_.:=, -]*$",
        description="Functions that answer in place of a model server: name=package.module:function,…; they answer "
        "jobs whose model is `name` or begins with `name/`.",
    )
    prices: PriceList = Field(
        default="",
        description="Prices of a million prompt and completion tokens: USD: name=0.25/2,…; * is any text; empty: none.",
    )
    credentials: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_.:]*$",
        description="Function that workers ask for the model's key, anew for each call: package.module:function.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="What a log line is: text, or an object of JSON."
    )
    access_log: bool = Field(default=False, description="Whether an API logs each request, with the id of its job.")

    root_path: str = Field(
        default="",
        pattern=r"^(?:/[A-Za-z0-9._~-]+)*/?$",
        description="Path under which a proxy shows the API, such as /chat; empty: at the root.",
    )
    hosts: str = Field(
        default="",
        description="Names under which clients reach an API: app.example,*.b.example; *: any; empty: IP addresses and "
        "localhost alone, which are allowed always.",
    )
    origins: str = Field(
        default="",
        description="Sites whose pages may use the API too: https://a.example,https://b.example; *: any; empty: none.",
    )

    max_jobs: int = Field(default=100, ge=1, le=10_000, description="Streams that one worker runs at once.")
    max_queued: int = Field(
        default=10_000, ge=0, description="Waiting jobs beyond which a submit is a 429; 0: no limit."
    )
    max_queued_bytes: int = Field(
        default=1_073_741_824,
        ge=0,
        description="Bytes of the waiting jobs' requests beyond which a submit is a 429; 0: no limit.",
    )
    max_body_bytes: int = Field(
        default=33_554_432, ge=1024, description="Largest request body, in bytes; a picture of 20 MB takes 28 million."
    )
    allowed_fields: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_ ,-]*$",
        description="Fields of a body that a gateway may obey (api_base, extra_headers, …) and that clients may send: "
        "name,name.",
    )
    max_attempts: int = Field(
        default=3, ge=1, le=100, description="Attempts of a job whose workers are lost; 1: a lost worker fails the job."
    )
    on_worker_lost: Literal["retry", "fail"] = Field(
        default="retry",
        description="A job whose worker is lost: start a new attempt, or end it; its own `on_worker_lost` wins.",
    )
    on_model_disconnect: Literal["fail", "retry"] = Field(
        default="fail",
        description="A model that breaks off after its first token: end the job, or start a new attempt.",
    )
    model_retries: int = Field(
        default=2, ge=0, le=20, description="Further calls to a model that fails before its first token; 0: none."
    )
    model_patience: Seconds = Field(
        default=60,
        description="Seconds that a job waits for a model that is away or refuses its worker; 0: MODEL_RETRIES alone.",
    )
    include_usage: bool = Field(
        default=True, description="Ask the model for token counts (stream_options.include_usage)."
    )

    max_answer_bytes: int = Field(
        default=67_108_864,
        ge=65_536,
        description="Largest answer of a model, in bytes of its events in the log, 100 more for each; "
        "beyond it the job fails.",
    )
    max_response_bytes: int = Field(
        default=1_073_741_824,
        ge=65_536,
        description="Longest body of a model's answer, in bytes once decompressed, comments and all.",
    )
    max_extra_bytes: int = Field(
        default=33_554_432, ge=1024, description="Bytes of an answer's fields that no event type names."
    )
    max_tool_calls: int = Field(default=256, ge=1, le=100_000, description="Tool calls of an answer.")
    max_tool_call_bytes: int = Field(
        default=33_554_432,
        ge=1024,
        description="Bytes of an answer's tool calls: ids, names and arguments, 100 more for each fragment.",
    )

    connect_timeout: PositiveSeconds = Field(default=5, description="Seconds to connect to the model.")
    first_token_timeout: Seconds = Field(
        default=600,
        description="Seconds without a sign of life before the first token, waits for an absent model apart; "
        "0: no limit.",
    )
    stall_timeout: Seconds = Field(
        default=60, description="Seconds between two signs of life of a model that has begun; 0: no limit."
    )
    model_keepalives: bool = Field(
        default=True,
        description="Count comments and empty chunks of the model as signs of life; false: only what says something.",
    )
    job_timeout: Seconds = Field(default=3600, description="Seconds that one attempt may run; 0: no limit.")
    job_deadline: Seconds = Field(
        default=0,
        description="Seconds from submit in which a job must end; its own `deadline` wins; 0: no limit.",
    )
    cancel_on_disconnect: Literal["chat", "always", "never"] = Field(
        default="chat",
        description="Cancel jobs whose last watcher has left: those of /chat/stream, all or none.",
    )
    ai_sdk_reset: Literal["reset-step", "data"] = Field(
        default="reset-step",
        description="How /api/chat tells that a job starts over: reset-step needs ai 7; data works with 5 and 6, too.",
    )
    disconnect_grace: Seconds = Field(
        default=3,
        description="Seconds that such a job goes on without a watcher; one that comes back in time keeps it. "
        "0: the job ends at once.",
    )
    standstill: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=60,
        description="Seconds that a process of the API which is connected and says nothing, being busy or stopped, "
        "keeps the jobs of its watchers; 0: not longer than a dead one.",
    )
    drain_timeout: Seconds = Field(
        default=20,
        description="Seconds that a stopping worker lets its streams run before it hands them over; 0: at once.",
    )
    lease: Annotated[float, Field(ge=0.5, le=600)] = Field(
        default=10, description="Seconds after which a silent worker counts as lost; renewed every third of it."
    )
    worker_disconnect_timeout: Seconds = Field(
        default=1.5,
        description="Seconds without a connection to Redis after which a worker counts as lost, before its lease is "
        "over; 0: off, the lease alone tells.",
    )
    cancel_poll: Annotated[float, Field(ge=0.02, le=60)] = Field(
        default=0.25, description="Seconds between looks at the cancel flags of jobs whose model is silent."
    )
    poll_interval: Annotated[float, Field(ge=0.05, le=3)] = Field(
        default=1, description="Seconds between looks at the queue by a worker that is not woken."
    )
    sweep_interval: PositiveSeconds = Field(default=10, description="Seconds between sweeps, over all workers.")

    retention: Annotated[float, Field(ge=1)] = Field(default=86_400, description="Seconds that an ended job is kept.")
    keep_request: bool = Field(
        default=False, description="Keep the request of an ended job as long as the job; false: until its end."
    )
    thread_ttl: Annotated[float, Field(ge=1)] = Field(
        default=2_592_000, description="Seconds that a thread is kept idle."
    )
    max_thread_entries: int = Field(
        default=10_000, ge=1, le=100_000, description="Entries of a thread: messages, tool calls and their outputs."
    )
    max_thread_bytes: int = Field(
        default=33_554_432, ge=1024, description="Bytes of a thread's entries beyond which it takes no further turn."
    )
    max_thread_waiting: int = Field(default=100, ge=1, le=1000, description="Jobs of a thread that wait for another.")
    job_ttl: Annotated[float, Field(ge=10)] = Field(
        default=86_400, description="Seconds that a job lives unattended; renewed while it waits or runs."
    )
    idempotency_ttl: PositiveSeconds = Field(
        default=86_400, description="Seconds that an Idempotency-Key is remembered."
    )

    redis_timeout: PositiveSeconds = Field(default=5, description="Seconds that Redis may take to connect or answer.")
    redis_outage_timeout: Seconds = Field(
        default=60, description="Seconds that a running job waits for a Redis that is away; 0: not at all."
    )
    sse_keepalive: PositiveSeconds = Field(
        default=15, description="Seconds between comments to a client that hears nothing."
    )
    hub_heartbeat: PositiveSeconds = Field(
        default=5, description="Seconds between the hub's heartbeats to itself; after three lost ones it reconnects."
    )
    send_timeout: PositiveSeconds = Field(
        default=60,
        description="Seconds that a client may do nothing (read some 100 KB, send on a request) before it is closed.",
    )
    request_timeout: Seconds = Field(
        default=600, description="Seconds in which a whole request, head and body, must have come; 0: no limit."
    )
    max_connections: int = Field(
        default=20_000, ge=0, description="Clients' connections beyond which a process answers 503; 0: no limit."
    )
    replay_buffer_bytes: int = Field(
        default=1_048_576,
        ge=4096,
        description="Bytes of events that a process keeps of a watched job; older ones: the log.",
    )
    feed_linger: Seconds = Field(default=5, description="Seconds that a feed outlives its last watcher; 0: not at all.")

    @field_validator("redis_url", mode="before")
    @classmethod
    def _named_host(cls, value: object) -> object:
        """A URL with a password must have a host for pydantic; that of a socket is of no matter."""
        return _SOCKET_WITH_USER.sub(r"\1localhost/", value) if isinstance(value, str) else value

    @field_validator("redis_url", mode="after")
    @classmethod
    def _socket_path(cls, value: AnyUrl) -> AnyUrl:
        if value.scheme == "unix" and (value.host not in (None, "", "localhost") or len(value.path or "/") < 2):
            raise ValueError("must be unix:///path/of/the/socket, with three slashes")
        return value

    @field_validator("model", mode="after")
    @classmethod
    def _strip(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be blank")
        return value.strip()

    @field_validator("sentinels", mode="after")
    @classmethod
    def _addresses(cls, value: str) -> str:
        if value:
            _parse_addresses(value)
        return value

    @field_validator("root_path", mode="after")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("hosts", mode="after")
    @classmethod
    def _hosts(cls, value: str) -> str:
        for name in _parts(value):
            if name != "*" and not _HOST_NAME.fullmatch(name):
                raise ValueError("must be names without scheme, port and path: app.example,*.b.example, or *")
        return value

    @field_validator("origins", mode="after")
    @classmethod
    def _origins(cls, value: str) -> str:
        for origin in _parts(value):
            address = urlsplit(origin)
            if origin not in ("*", "null") and origin != f"{address.scheme}://{address.netloc}".lower():
                raise ValueError("must be scheme://host[:port],…, as browsers send it, or *")
        return value

    @model_validator(mode="after")
    def _sentinels_are_reached_by_tcp(self) -> Self:
        if self.sentinels and self.redis_url.scheme == "unix":
            raise ValueError("READALONG_SENTINELS needs a redis:// or rediss:// READALONG_REDIS_URL")
        return self

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        """Host and port of each."""
        return _parse_addresses(self.sentinels)

    @property
    def listed_models(self) -> list[str]:
        """In the order of the setting, each once."""
        return list(_parts(self.models)) or [self.model]

    def speaks_responses(self, model: str) -> bool:
        """Returns whether this model is asked by the Responses API."""
        return any(fnmatchcase(model, name) for name in _parts(self.responses_models))

    @property
    def allowed_hosts(self) -> frozenset[str]:
        return frozenset(_parts(self.hosts))

    @property
    def allowed_origins(self) -> frozenset[str]:
        return frozenset(_parts(self.origins))

    @property
    def allowed_field_names(self) -> frozenset[str]:
        """Small letters, with underscores."""
        return frozenset(name.strip().lower().replace("-", "_") for name in self.allowed_fields.split(","))

    @property
    def keys(self) -> Keys:
        return Keys(self.prefix)

    @property
    def safe_redis_url(self) -> str:
        """The address without its password, for logs and people."""
        # redis-py takes a password from the query too.
        address, _, query = str(self.redis_url).partition("?")
        password = self.redis_url.password
        if password is not None:
            address = address.replace(f":{password}@", ":***@", 1)
        database = parse_qs(query).get("db", [""])[0]
        return f"{address}?db={database}" if database.isdigit() else address

    @property
    def redis_socket(self) -> str | None:
        """The path of Redis' Unix socket; None if it is reached by TCP."""
        return unquote(self.redis_url.path or "") if self.redis_url.scheme == "unix" else None


@lru_cache
def _parts(text: str) -> dict[str, None]:
    """Returns what stands between the commas, in order, each once."""
    return dict.fromkeys(part for each in text.split(",") if (part := each.strip()))


def _parse_addresses(text: str) -> list[tuple[str, int]]:
    """Raises ValueError."""
    found = []
    for part in text.split(","):
        address = urlsplit(f"//{part.strip()}")
        if not address.hostname or address.path or "@" in address.netloc:
            raise ValueError("must be host:port,host:port")
        found.append((address.hostname, address.port or 26379))
    return found


def load() -> Settings:
    """Returns the settings of this environment. Raises BadSettings, which names each variable that cannot be used."""
    try:
        return Settings()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False, include_context=False, include_input=False):
            name = "READALONG_" + str(problem["loc"][0]).upper() if problem["loc"] else "settings"
            lines.append(f"{name}: {problem['msg']}")
        raise BadSettings("; ".join(lines)) from None
