"""The plan of a run: its length, its load, and the settings of its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LEASE: Final = 2.0
OUTAGE: Final = 30.0
MAX_ATTEMPTS: Final = 10
MODEL_RETRIES: Final = 2
MODEL_PATIENCE: Final = 3.0
MAX_JOBS: Final = 12
#: Small, so that limits are reached soon and hostile input costs the machine little.
MAX_BODY_BYTES: Final = 4_194_304
REQUEST_TIMEOUT: Final = 10.0
#: The memory limit of a process in bytes, by its kind. Runs of five minutes peaked at 165 MB and 214 MB.
MEMORY: Final[Mapping[str, int]] = {"api": 320_000_000, "worker": 280_000_000}
#: Connections to Redis that a process keeps after a peak of concurrent calls.
POOLS: Final[Mapping[str, int]] = {"api": 64, "worker": MAX_JOBS + 16}

#: Short, so that a minute has many leases, time-outs and drains.
SETTINGS: Final[Mapping[str, str]] = {
    "READALONG_MODEL": "demo",
    "READALONG_MAX_JOBS": str(MAX_JOBS),
    "READALONG_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
    "READALONG_MODEL_RETRIES": str(MODEL_RETRIES),
    "READALONG_MODEL_PATIENCE": str(MODEL_PATIENCE),
    "READALONG_LEASE": str(LEASE),
    "READALONG_SWEEP_INTERVAL": "1",
    "READALONG_POLL_INTERVAL": "0.5",
    "READALONG_CANCEL_POLL": "0.1",
    "READALONG_FIRST_TOKEN_TIMEOUT": "6",
    "READALONG_STALL_TIMEOUT": "3",
    "READALONG_JOB_TIMEOUT": "12",
    "READALONG_DISCONNECT_GRACE": "2",
    "READALONG_DRAIN_TIMEOUT": "2",
    "READALONG_REDIS_TIMEOUT": "2",
    "READALONG_REDIS_OUTAGE_TIMEOUT": str(OUTAGE),
    "READALONG_SSE_KEEPALIVE": "2",
    "READALONG_HUB_HEARTBEAT": "0.5",
    "READALONG_SEND_TIMEOUT": "5",
    "READALONG_REPLAY_BUFFER_BYTES": "65536",
    "READALONG_FEED_LINGER": "0.5",
    "READALONG_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
    "READALONG_REQUEST_TIMEOUT": str(REQUEST_TIMEOUT),
    "READALONG_MAX_ANSWER_BYTES": "1572864",
    "READALONG_MAX_RESPONSE_BYTES": "8388608",
    "READALONG_MAX_EXTRA_BYTES": "262144",
    "READALONG_MAX_TOOL_CALLS": "16",
    "READALONG_MAX_TOOL_CALL_BYTES": "262144",
    # The log of a failed run has the requests.
    "READALONG_KEEP_REQUEST": "true",
}

#: One worker restarts a job where the others fail it: a fleet in the middle of a change of its settings.
SETTINGS_OF: Final[Mapping[str, Mapping[str, str]]] = {"worker-0": {"READALONG_ON_MODEL_DISCONNECT": "retry"}}


@dataclass(frozen=True)
class Plan:
    """One run. Two runs of one plan draw the same client plans and the same faults; concurrency still differs."""

    seed: int
    seconds: float
    """Seconds of new jobs and faults; work in progress then finishes."""
    apis: int = 2
    workers: int = 3
    jobs: int = 24
    """Concurrent jobs."""
    hostile: int = 9
    """Concurrent jobs of hostile models, besides."""
    pause: float = 1.5
    """Mean seconds between two faults."""
    settle: float = 60.0
    """Seconds for all to finish after the last fault."""

    def shown(self) -> dict[str, Any]:
        """Returns the part of the plan that the checker needs."""
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "settle": self.settle,
            "lease": LEASE,
            "outage": OUTAGE,
            "max_attempts": MAX_ATTEMPTS,
            "model_retries": MODEL_RETRIES,
            "model_patience": MODEL_PATIENCE,
            "aof": "always",
            "retry": "mixed",
            "pools": dict(POOLS),
            "memory": dict(MEMORY),
            "settings": dict(SETTINGS),
            "settings_of": {name: dict(settings) for name, settings in SETTINGS_OF.items()},
        }
