"""The order of the checks: what later ones need comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from readalong.cli.api_client import ApiClient
from readalong.cli.doctor.api_checks import (
    check_api,
    check_clock,
    check_findings,
    check_redis,
    check_workers,
    utc_now,
)
from readalong.cli.doctor.check import Check
from readalong.cli.doctor.model_checks import check_cancel, check_model, unexpected
from readalong.cli.doctor.redis_checks import check_own_redis
from readalong.cli.doctor.stream_checks import check_streaming
from readalong.cli.errors import CliError

#: Seconds within which the first bytes of a stream must arrive.
STREAM_SECONDS = 5.0

Doing = Callable[[str], AbstractContextManager[None]]


class Examination:
    """`doing` is entered with a line that says what is tried. `with_jobs`: whether to ask the model."""

    def __init__(self, url: str, model: str | None, seconds: float, *, with_jobs: bool, doing: Doing) -> None:
        self._url = url
        self._model = model
        self._seconds = seconds
        self._with_jobs = with_jobs
        self._doing = doing

    def checks(self) -> Iterator[Check]:
        """Yields the results as they come. Raises CliError for an address that is none."""
        with ApiClient(self._url) as client:
            with self._doing("the API"):
                api = check_api(client)
            yield api
            if api.result == "ok":
                yield from self._through_api(client)
        with self._doing("Redis as this machine reaches it"):
            found = list(check_own_redis())
        yield from found

    def _through_api(self, client: ApiClient) -> Iterator[Check]:
        by_status = list(self._by_status(client))
        yield from by_status
        with self._doing("a stream"):
            streaming = check_streaming(client, STREAM_SECONDS)
        yield streaming
        if not self._with_jobs:
            yield Check("model", "skipped", "--no-job: the model was not asked")
        elif any(check.name == "workers" and check.result == "critical" for check in by_status):
            yield Check("model", "skipped", "no worker could ask the model")
        else:
            yield from self._by_jobs(client)

    def _by_status(self, client: ApiClient) -> Iterator[Check]:
        asked = utc_now()
        with self._doing("Redis, workers and clocks as the API sees them"):
            try:
                status = client.get("/v1/status")
            except CliError as error:
                yield unexpected("status", error)
                return
        answered = utc_now()
        yield from check_redis(status)
        yield from (check_workers(status), check_clock(status, asked, answered), *check_findings(status))

    def _by_jobs(self, client: ApiClient) -> Iterator[Check]:
        answered = self._try("model", lambda: check_model(client, self._model, self._seconds))
        yield from answered
        if answered[0].result == "ok":
            yield from self._try("cancel", lambda: [check_cancel(client, self._model, self._seconds)])

    def _try(self, name: str, run: Callable[[], Iterable[Check]]) -> list[Check]:
        with self._doing(f"a small job: {name}"):
            try:
                return list(run())
            except CliError as error:
                return [unexpected(name, error)]
