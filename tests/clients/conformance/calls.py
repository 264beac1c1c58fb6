"""Scenarios 90 to 99: the calls that are no streams, and what a closed client says."""

from __future__ import annotations

from typing import Final

from tests.clients.conformance.acts import drop, job, problem, reply
from tests.clients.conformance.generations import CANCEL, SUBMIT
from tests.clients.conformance.scenario import JOB, Scenario

_QUICK: Final = {"longest_wait": 0.02}
_JOB: Final = "GET /v1/jobs/JOB"
_ERASE: Final = "DELETE /v1/jobs/JOB"

CALLS: Final = [
    Scenario(
        number=90,
        title="A submit without a stream: the job goes on by itself.",
        do="submit",
        acts={SUBMIT: [drop, job()]},
        options=_QUICK,
        expect={"result": {"id": JOB, "status": "queued"}, "error": None, "same_key": True},
    ),
    Scenario(
        number=91,
        title="A job is inspected; trouble that passes is waited out.",
        do="job",
        acts={_JOB: [problem(503, "redis_unavailable", retryable=True), job("done", 200, content="Hi")]},
        options=_QUICK,
        expect={"result": {"id": JOB, "status": "done", "content": "Hi"}, "error": None},
    ),
    Scenario(
        number=92,
        title="An unknown job is an error with its status and code.",
        do="job",
        acts={_JOB: [problem(404, "job_not_found")]},
        expect={"error": {"kind": "api", "status": 404, "code": "job_not_found", "retryable": False}},
    ),
    Scenario(
        number=93,
        title="A job is cancelled by its id.",
        do="cancel",
        acts={CANCEL: [job("running")]},
        expect={"result": {"id": JOB, "status": "running"}, "error": None, "requests": [[0, "POST", "cancel", {}]]},
    ),
    Scenario(
        number=94,
        title="An erase whose response is lost is repeated, and then may find nothing.",
        do="erase",
        acts={_ERASE: [drop, problem(404, "job_not_found")]},
        options=_QUICK,
        expect={"error": None, "requests": [[0, "DELETE", "", {}]] * 2},
    ),
    Scenario(
        number=95,
        title="An erase of an unknown job is an error.",
        do="erase",
        acts={_ERASE: [problem(404, "job_not_found")]},
        expect={"error": {"kind": "api", "status": 404, "code": "job_not_found"}},
    ),
    Scenario(
        number=96,
        title="A list goes over its pages, also over an empty one.",
        do="jobs",
        acts={
            "GET /v1/jobs": [
                reply(200, {"jobs": [{"id": "a" * 22, "status": "done"}], "next": "/v1/jobs?before=x"}),
                reply(200, {"jobs": [], "next": "/v1/jobs?before=y"}),
                reply(200, {"jobs": [{"id": "b" * 22, "status": "queued"}], "next": None}),
            ]
        },
        expect={
            "result": [{"id": "a" * 22, "status": "done"}, {"id": "b" * 22, "status": "queued"}],
            "requests": [[0, "GET", "jobs", {}], [0, "GET", "jobs?before=x", {}], [0, "GET", "jobs?before=y", {}]],
        },
    ),
    Scenario(
        number=97,
        title="A client that is closed says so, and sends nothing.",
        do="closed",
        acts={},
        expect={"error": {"kind": "misuse", "retryable": False}, "requests": []},
    ),
]
