"""Submits one job by a face, as the official client does: OpenAI's SDKs repeat a POST without a key."""

from __future__ import annotations

import asyncio
import json
import time
from random import Random
from typing import Any, Final

from tests.chaos.client_plan import ClientPlan
from tests.chaos.history import History
from tests.support.client import Cut, Response

_PATHS: Final = {"openai": "/v1/chat/completions", "responses": "/v1/responses", "ai_sdk": "/api/chat"}
#: Seconds that it waits for the head of a response; for a whole answer, which comes when the job has ended.
_PATIENCE: Final = 8.0
_PATIENCE_FOR_ALL: Final = 45.0
_PAUSES: Final = (0.1, 1.0)
#: How often the first reply of those that wait for a whole answer is lost, and the seconds until then.
_LOST: Final = 0.3
_LOST_WITHIN: Final = (0.2, 3.0)
#: Characters of an error that the history keeps.
_SHOWN: Final = 2000


def chat_id(plan: ClientPlan) -> str:
    """Returns the id of the AI SDK's chat: each job has its own."""
    return f"chat-{plan.key}"


class FaceClient:
    """`run` returns the job's id. Then `stream` is the response if it is a stream, with its replica."""

    def __init__(self, history: History, urls: list[str], plan: ClientPlan, rng: Random) -> None:
        self._history = history
        self._urls = urls
        self._plan = plan
        self._rng = rng
        self._raw = json.dumps(_body(plan)).encode()
        self.stream: tuple[int, Response] | None = None
        #: Whether each of its submits got a proper response.
        self.sure = True

    async def run(self) -> str | None:
        """Returns None if the submit was refused, which is a trouble."""
        tries = 0
        while True:
            job_id, again = await self._try(tries)
            if not again:
                return job_id
            tries += 1
            await asyncio.sleep(self._rng.uniform(*_PAUSES))

    async def _try(self, tries: int) -> tuple[str | None, bool]:
        """Returns the job's id, and whether the client asks once more."""
        plan = self._plan
        replica, asked = self._rng.randrange(len(self._urls)), time.time()
        keyed = plan.via == "ai_sdk"
        headers = {"Idempotency-Key": plan.key} if keyed else {"x-stainless-retry-count": str(tries)}
        patience = _PATIENCE if self._streams or self._background else _PATIENCE_FOR_ALL
        lost = patience == _PATIENCE_FOR_ALL and not tries and self._rng.random() < _LOST
        if lost:
            patience = self._rng.uniform(*_LOST_WITHIN)
        response, body, late = await self._open(self._urls[replica] + _PATHS[plan.via], headers, patience)
        late = late and not lost
        status = None if response is None else response.status
        head = {} if response is None else response.headers
        job_id = head.get("x-job-id")
        line: dict[str, Any] = {"tag": plan.tag, "key": plan.key if keyed else None, "via": plan.via}
        line |= {"replica": replica, "terms": plan.terms, "background": self._background, "asked": asked, "late": late}
        if response is not None and status != 200:
            says = (body or b"").decode(errors="replace")[:_SHOWN]
            line |= {"says": says, "form": head.get("content-type"), "again": head.get("x-should-retry")}
        self._history.client("submit", **line, status=status, job=job_id)
        if response is None:
            self.sure = False
            return None, True
        if body is None:
            self.stream = replica, response
        elif job_id is not None and not (status == 200 and self._background):
            self._read(job_id, replica, status, asked, body)
        again = job_id is None and status in (429, 503)
        if job_id is None and not again:
            self._history.trouble(f"{plan.tag} was refused by {plan.via}: {status} {body!r:.300}")
        return job_id, again

    async def _open(
        self, url: str, headers: dict[str, str], patience: float
    ) -> tuple[Response | None, bytes | None, bool]:
        """Returns the response, its body unless it is a stream, and whether the client gave up waiting."""
        try:
            async with asyncio.timeout(patience):
                response = await Response.open("POST", url, self._raw, headers)
                if response.status == 200 and self._streams:
                    return response, None, False
                try:
                    return response, b"".join([piece async for piece in response.pieces()]), False
                finally:
                    response.abort()
        except TimeoutError:
            return None, None, True
        except (OSError, Cut):
            return None, None, False

    @property
    def _background(self) -> bool:
        return self._plan.via == "responses" and self._plan.background

    @property
    def _streams(self) -> bool:
        return self._plan.stream or self._plan.via == "ai_sdk"

    def _read(self, job_id: str, replica: int, status: int | None, asked: float, body: bytes) -> None:
        """Writes a whole answer, or the error of a job that has failed, as what a client has read."""
        name = f"{self._plan.tag}-whole"
        opened = {"watch": name, "client": name, "job": job_id, "after": 0, "epoch": "", "replica": replica}
        self._history.client("client", client=name, job=job_id, after=0)
        form = {"form": self._plan.via, "whole": True, "asked": asked}
        self._history.client("open", **opened, **form, status=status)
        self._history.client("said", watch=name, data=body.decode())
        self._history.client("close", watch=name, how="end")
        self._history.client("client_end", client=name, how="terminal")


def _body(plan: ClientPlan) -> dict[str, Any]:
    """Returns the native body in the face's form."""
    body = {name: value for name, value in plan.body.items() if name not in plan.terms}
    if plan.terms:
        body["readalong"] = plan.terms
    [message] = body["messages"]
    match plan.via:
        case "openai":
            body["stream"] = plan.stream
        case "responses":
            del body["messages"]
            # It has no parameters of a model's own.
            body |= {"input": message["content"], "user": json.dumps(body.pop("demo"))}
            body |= {"stream": plan.stream, "background": plan.background}
            if "tools" in body:
                body["tools"] = [{"type": "function", **tool["function"]} for tool in body["tools"]]
        case _:
            parts = [{"type": "text", "text": message["content"]}]
            body |= {"id": chat_id(plan), "messages": [{"id": "m1", "role": "user", "parts": parts}]}
            body["trigger"] = "submit-message"
    return body
