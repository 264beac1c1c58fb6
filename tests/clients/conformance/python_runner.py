"""The Python library's way through a scenario, with either of its clients."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from readalong.client import (
    ApiConnectionError,
    ApiError,
    AsyncClient,
    AsyncStream,
    AsyncWatch,
    Client,
    ClientError,
    ClientOptions,
    Event,
    GenerationFailed,
    GenerationRestarted,
    Job,
    MisuseError,
    ProtocolError,
    Stream,
    Watch,
)

_RUNS: Final = count(1)
_KINDS: Final[dict[type[ClientError], str]] = {
    ApiError: "api",
    ApiConnectionError: "connection",
    ProtocolError: "protocol",
    GenerationFailed: "generation",
    GenerationRestarted: "restarted",
    MisuseError: "misuse",
}


@dataclass
class Outcome:
    """What a caller has seen."""

    events: list[Event] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    error: ClientError | None = None
    result: Any = None
    source: Stream | AsyncStream | Watch | AsyncWatch | None = None

    def restarted(self, _: object) -> None:
        """Takes back the text so far."""
        self.pieces.clear()

    def differences(self, expect: dict[str, Any], record: dict[str, Any]) -> list[str]:
        """Returns what is not as the scenario says."""
        checks: dict[str, Callable[[Any], Any]] = {
            "events": lambda wanted: _each(wanted, self.events, _event),
            "text": lambda wanted: None if self.source is not None and self.source.text == wanted else self._text(),
            "end": lambda wanted: None if self._end() == wanted else self._end(),
            "error": self._error,
            "progress": lambda wanted: _subset(wanted, self._progress()),
            "result": lambda wanted: _subset(wanted, self.result),
            "requests": lambda wanted: _each(wanted, record["requests"], _request),
            "same_key": lambda _: None if len(_keys(record)) == 1 else _keys(record),
            "cancelled": lambda _: None if any(_is_cancel(each) for each in record["requests"]) else "no cancel",
            "gaps": lambda wanted: [gap for gap in wanted if not _is_gap(gap, record["requests"])] or None,
            "left": lambda wanted: None if record["left"] == wanted else record["left"],
        }
        found = {name: checks[name](wanted) for name, wanted in expect.items()}
        return [f"{name}: {what!r:.2000}" for name, what in found.items() if what is not None]

    def _text(self) -> str | None:
        return None if self.source is None else self.source.text

    def _end(self) -> str | None:
        end = None if self.source is None else self.source.end
        return None if end is None else end.type

    def _progress(self) -> dict[str, Any]:
        assert self.source is not None
        now = self.source.progress
        return {name: getattr(now, name) for name in now.__slots__}

    def _error(self, wanted: dict[str, Any] | None) -> object:
        if self.error is None or wanted is None:
            return None if self.error is None and wanted is None else repr(self.error)
        found = {"kind": _KINDS[type(self.error)], **vars(self.error)}
        found |= {"code": self.error.code, "retryable": self.error.retryable}
        return _subset(wanted, found)


@dataclass(frozen=True)
class Play:
    """One run of a scenario."""

    server: str
    scenario: dict[str, Any]
    run: str

    @classmethod
    def new(cls, server: str, scenario: dict[str, Any]) -> Play:
        return cls(server, scenario, f"python-{next(_RUNS)}")

    @property
    def urls(self) -> list[str]:
        base = f"{self.server}/{self.scenario['number']}/{self.run}"
        return [f"{base}/{replica}" for replica in range(self.scenario["replicas"])]

    def record(self) -> dict[str, Any]:
        """Returns what the server has seen, when that has become as much as is expected."""
        expect = self.scenario["expect"]
        requests, left = len(expect.get("requests", ())), expect.get("left", 0)
        url = f"{self.server}/record/{self.scenario['number']}/{self.run}?count={requests}&left={left}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=60) as response:
            found: dict[str, Any] = json.load(response)
        return found

    @property
    def options(self) -> ClientOptions:
        return ClientOptions(**self.scenario["options"])

    def run_blocking(self) -> Outcome:
        """Returns what a caller of Client has seen."""
        outcome = Outcome()
        with Client(self.urls, options=self.options) as client:
            try:
                self._call(client, outcome)
            except ClientError as error:
                outcome.error = error
        return outcome

    def _call(self, client: Client, outcome: Outcome) -> None:
        job, do = self.scenario["job"], self.scenario["do"]
        if do == "watch":
            outcome.source = watch = client.watch(job, after=self.scenario["after"])
            self._loop(iter(watch), outcome)
        elif do == "stream":
            outcome.source = stream = client.stream_chat(self.scenario["messages"], **self._arguments(outcome))
            if self.scenario["read"] == "text":
                outcome.pieces.extend(stream)
            else:
                self._loop(stream.events(), outcome)
        elif do == "closed":
            client.close()
            client.stream_chat(self.scenario["messages"])
        elif do == "jobs":
            outcome.result = [each.fields for each in client.jobs()]
        elif do == "submit":
            outcome.result = client.submit(self.scenario["messages"], **self.scenario["parameters"]).fields
        else:
            answer: Job | None = getattr(client, do)(job)
            outcome.result = answer and answer.fields

    def _loop(self, events: Iterator[Event], outcome: Outcome) -> None:
        for event in events:
            outcome.events.append(event)
            if len(outcome.events) == self.scenario["leave_after"]:
                return
            if len(outcome.events) == self.scenario["cancel_after"]:
                assert isinstance(outcome.source, Stream)
                outcome.source.cancel()

    async def run_in_loop(self) -> Outcome:
        """Returns what a caller of AsyncClient has seen."""
        outcome = Outcome()
        async with AsyncClient(self.urls, options=self.options) as client:
            try:
                await self._await(client, outcome)
            except ClientError as error:
                outcome.error = error
        return outcome

    async def _await(self, client: AsyncClient, outcome: Outcome) -> None:
        job, do = self.scenario["job"], self.scenario["do"]
        if do == "watch":
            outcome.source = watch = client.watch(job, after=self.scenario["after"])
            await self._async_loop(aiter(watch), outcome)
        elif do == "stream":
            outcome.source = stream = client.stream_chat(self.scenario["messages"], **self._arguments(outcome))
            if self.scenario["read"] == "text":
                async for text in stream:
                    outcome.pieces.append(text)
            else:
                await self._async_loop(stream.events(), outcome)
        elif do == "closed":
            await client.aclose()
            client.stream_chat(self.scenario["messages"])
        elif do == "jobs":
            outcome.result = [each.fields async for each in client.jobs()]
        elif do == "submit":
            outcome.result = (await client.submit(self.scenario["messages"], **self.scenario["parameters"])).fields
        else:
            answer: Job | None = await getattr(client, do)(job)
            outcome.result = answer and answer.fields

    async def _async_loop(self, events: AsyncIterator[Event], outcome: Outcome) -> None:
        async for event in events:
            outcome.events.append(event)
            if len(outcome.events) == self.scenario["leave_after"]:
                return
            if len(outcome.events) == self.scenario["cancel_after"]:
                assert isinstance(outcome.source, AsyncStream)
                await outcome.source.cancel()

    def _arguments(self, outcome: Outcome) -> dict[str, Any]:
        handler = outcome.restarted if self.scenario["on_restart"] else None
        return {**self.scenario["parameters"], "keep_running": self.scenario["keep_running"], "on_restart": handler}


def _each(wanted: list[Any], found: list[Any], check: Callable[[Any, Any], object]) -> object:
    if len(wanted) != len(found):
        return f"{len(found)} instead of {len(wanted)}: {found!r:.1500}"
    wrong = [(want, have) for want, have in zip(wanted, found, strict=True) if check(want, have) is not None]
    return wrong or None


def _event(wanted: list[Any], event: Event) -> object:
    position, kind, fields = wanted
    found = [event.position or None, event.name if event.type == "other" else event.type]
    return _subset(fields, event.fields) if found == [position, kind] else found


def _request(wanted: list[Any], request: dict[str, Any]) -> object:
    replica, method, tail, headers = wanted
    path = request["path"].removeprefix("/v1/")
    path = path if path == "jobs" else path.removeprefix("jobs/").partition("/")[2]
    for name in ("after", "before"):
        path += f"?{name}={request['query'][name]}" if name in request["query"] else ""
    if [replica, method, tail] != [request["replica"], request["method"], path]:
        return [request["replica"], request["method"], path]
    body = headers.get("body", {})
    wrong = [name for name, value in headers.items() if name != "body" and request["headers"].get(name) != value]
    return wrong or _subset(body, request["body"] or {})


def _subset(wanted: Any, found: Any) -> object:
    """Returns None if `found` has all that is wanted, else `found`."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        wrong = {name: found.get(name) for name in wanted if _subset(wanted[name], found.get(name)) is not None}
        return wrong or None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        wrong_items = [have for want, have in zip(wanted, found, strict=True) if _subset(want, have) is not None]
        return wrong_items or None
    return None if wanted == found else [found]


def _keys(record: dict[str, Any]) -> set[str | None]:
    return {each["headers"].get("idempotency-key") for each in record["requests"] if each["path"] == "/v1/jobs"}


def _is_cancel(request: dict[str, Any]) -> bool:
    return bool(request["method"] == "POST" and request["path"].endswith("/cancel"))


def _is_gap(gap: tuple[int, float], requests: list[dict[str, Any]]) -> bool:
    index, seconds = gap
    before, at = (float(request["at"]) for request in requests[index - 1 : index + 1])
    return at - before >= seconds
