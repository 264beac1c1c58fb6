"""Two small jobs: one that is answered, one that is cancelled. Both are erased at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Final

from readalong.cli.api_client import ApiClient
from readalong.cli.doctor.check import Check
from readalong.cli.errors import CliError
from readalong.cli.json_fields import mapping, number, text
from readalong.cli.render.metrics import short
from readalong.core.states import TERMINAL

#: Seconds between two looks at a job.
_LOOK: Final = 0.1
#: Seconds within which a cancelled job must end; a worker looks at its flags several times a second.
CANCEL_SECONDS: Final = 8.0
#: Seconds after which a cancel is slow: a provider has two to end when it is closed, and the job goes on without it.
SLOW_CANCEL: Final = 1.5
_DEAF: Final = "look whether the provider ignores that it is closed: the worker's log says so (docs/providers.md)"
#: Characters of an answer that one chunk alone does not have if the model streams.
_LONG: Final = 40
_ASK: Final = "Count from one to thirty in English words. Write nothing else."
_ASK_LONG: Final = "Write a fairy tale of three thousand words."
_ACTIONS: Final = {
    "model_unreachable": "look at OPENAI_BASE_URL or AZURE_OPENAI_ENDPOINT of the workers, and at the model server",
    "model_unauthorized": "look at OPENAI_API_KEY, AZURE_OPENAI_API_KEY or READALONG_CREDENTIALS of the workers",
    "model_not_found": "name a model that the server has: --model here, READALONG_MODEL for all",
    "model_rate_limited": "wait, or ask the provider for a higher limit",
    "model_timeout": "look whether the model server is overloaded; READALONG_FIRST_TOKEN_TIMEOUT is the limit",
    "model_stalled": "look whether the model server is overloaded; READALONG_STALL_TIMEOUT is the limit",
}
_LOGS: Final = "look at the workers' logs, and at docs/protocol.md for the code"


def check_model(client: ApiClient, model: str | None, seconds: float) -> Iterator[Check]:
    """Whether the model answers within `seconds`, and streams."""
    with _job(client, model, _ASK) as job_id:
        job = _wait(client, job_id, seconds)
        status, error = str(job.get("status")), mapping(job.get("error"))
        if status == "failed":
            code = text(error.get("code"), 40)
            yield Check("model", "critical", f"{text(error.get('message'))} ({code})", _ACTIONS.get(code, _LOGS))
            return
        if status != "done":
            yield _silent(job, seconds)
            return
        metrics, answer = mapping(job.get("metrics")), str(job.get("content") or "")
        first, total = metrics.get("time_to_first_token"), metrics.get("total_seconds")
        name = text(job.get("model"), 60)
        yield Check("model", "ok", f"{name} answers: first token after {short(first)}, all after {short(total)}")
        chunks = number(metrics.get("chunk_count")) or 0
        if chunks > 1:
            yield Check("tokens", "ok", f"the model streams: {chunks:g} chunks")
        elif len(answer) < _LONG:
            yield Check("tokens", "skipped", "the answer was too short to tell whether the model streams")
        else:
            yield Check(
                "tokens",
                "warning",
                f"the model does not stream: {len(answer)} characters came in one chunk",
                "look whether the model server, or a gateway in front of it, buffers its answers",
            )


def check_cancel(client: ApiClient, model: str | None, seconds: float) -> Check:
    """Returns whether a cancel ends a job whose answer is under way."""
    with _job(client, model, _ASK_LONG) as job_id:
        job = _wait(client, job_id, seconds, begun=True)
        if job.get("status") != "running":
            return Check("cancel", "skipped", f"the job to be cancelled was {text(job.get('status'))} before that")
        client.post(client.job_path(job_id) + "/cancel")
        began = monotonic()
        job = _wait(client, job_id, CANCEL_SECONDS)
    status = str(job.get("status"))
    took = monotonic() - began
    if status == "cancelled" and took < SLOW_CANCEL:
        return Check("cancel", "ok", f"a cancel ends the answer within {short(took)}")
    if status == "cancelled":
        return Check("cancel", "warning", f"a cancel ended the answer only after {short(took)}", _DEAF)
    if status in TERMINAL:
        return Check("cancel", "skipped", f"the job was {text(status)} before the cancel could end it")
    return Check(
        "cancel",
        "critical",
        f"the job still runs {CANCEL_SECONDS:g} s after its cancel",
        "look whether its worker stands still: a provider that computes without awaiting blocks it (docs/providers.md)",
    )


@contextmanager
def _job(client: ApiClient, model: str | None, question: str) -> Iterator[str]:
    """Submits a job, and erases it at the end, which cancels it first."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "metadata": {"readalong": "doctor"}}
    if model is not None:
        body["model"] = model
    path = client.job_path(client.submit(body)["id"])
    try:
        yield path.rpartition("/")[2]
    finally:
        client.delete(path)


def _wait(client: ApiClient, job_id: str, seconds: float, *, begun: bool = False) -> dict[str, Any]:
    """Returns the job once it has ended, or with `begun` has some text, or after `seconds`.

    It asks for the job instead of watching it: a proxy that buffers must not look like a model that is silent.
    """
    deadline = monotonic() + seconds
    while True:
        job = client.get(client.job_path(job_id))
        if job.get("status") in TERMINAL or (begun and job.get("content")) or monotonic() > deadline:
            return job
        sleep(_LOOK)


def _silent(job: dict[str, Any], seconds: float) -> Check:
    status = text(job.get("status"))
    if status == "cancelled":
        return Check("model", "skipped", "the job was cancelled")
    if status == "queued":
        detail = f"the job still waits in the queue after {seconds:g} s"
        return Check("model", "critical", detail, "readalong status shows why; --timeout waits longer")
    if job.get("content"):
        return Check("model", "warning", f"the answer is not complete after {seconds:g} s", "--timeout waits longer")
    action = "look at the model server; readalong status names a job that waits for it"
    return Check("model", "critical", f"the model has sent nothing for {seconds:g} s", action)


def unexpected(name: str, error: CliError) -> Check:
    """Returns the check that an error response ended."""
    return Check(name, "critical", error.message, "readalong status shows more")
