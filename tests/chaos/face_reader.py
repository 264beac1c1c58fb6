"""A reader that watches a job by a face, as the official client does: it counts what it gets, and resumes by that."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Final

from tests.chaos.client_plan import ClientPlan, Reading
from tests.chaos.face_client import chat_id
from tests.chaos.history import History
from tests.chaos.reader import Reader
from tests.support.client import Cut, Entry, Response

_RESPONSE_ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
#: Events that each response has before its end: a client may begin behind them.
_EARLY: Final = 2


class FaceReader(Reader):
    """A position is the number of the next event. OpenAI's chat completions have none: their client reads once.

    Some of the AI SDK's clients are pages that are loaded anew: they ask for the chat's answer from its start.
    """

    def __init__(
        self,
        history: History,
        urls: Sequence[str],
        job_id: str,
        reading: Reading,
        rng: Random,
        *,
        plan: ClientPlan,
        stream: tuple[int, Response] | None = None,
    ) -> None:
        super().__init__(history, urls, job_id, reading, rng, stream=stream)
        self._plan = plan
        self._position = str(min(reading.after, _EARLY) if stream is None else 0)
        self._reloads = plan.via == "ai_sdk" and stream is None and rng.random() < 0.3

    async def _connect(self) -> None:
        if self._reloads:
            self._position = "0"
        await super()._connect()
        if self._how is None and self._plan.via == "openai":
            self._how = "left"

    async def _read(self, response: Response, watch: str) -> str:
        before = self._position
        how = await super()._read(response, watch)
        if how == "eof" and self._position == before and self._plan.via == "responses":
            # Nothing follows a number that Redis has lost, and the client has no end: it streams the response again.
            self._position = "0"
        return how

    def _request(self) -> tuple[str, dict[str, str]]:
        number = self._number
        if self._plan.via == "responses":
            after = f"&starting_after={number - 1}" if number else ""
            return f"/v1/responses/resp_{self._job_id}?stream=true{after}", {}
        if self._reloads:
            return f"/api/chat/{chat_id(self._plan)}/stream", {}
        return f"/api/chat/{self._job_id}/stream?startIndex={number}", {}

    def _opened(self, watch: str, replica: int) -> dict[str, object]:
        return {**super()._opened(watch, replica), "form": self._plan.via}

    def _saw(self, watch: str, entry: Entry) -> bool:
        self._history.client("said", watch=watch, data=entry.data)
        self._position = str(self._number + 1)
        if self._plan.via == "responses":
            kind = json.loads(entry.data)["type"]
            if kind == "error":
                self._position = "0"
                raise Cut("Redis has lost events of the response: the client streams it again")
            return kind in _RESPONSE_ENDS
        return entry.data == "[DONE]"
