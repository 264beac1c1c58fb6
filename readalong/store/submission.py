"""A job that is about to be written."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from readalong.core.events import SCHEMA
from readalong.core.options import JobOptions
from readalong.redis.facade import Argument
from readalong.store.job_record import Record, parse
from readalong.store.threads import ThreadRef


class Submission(NamedTuple):
    """What a new job holds. `request` and `metadata` are JSON; the one has the other only if the model gets them."""

    job_id: str
    model: str
    request: bytes
    metadata: bytes
    body_digest: str
    #: Milliseconds since the epoch; 0: Redis' own time at its writing.
    created_at: int = 0
    #: The `key_digest` of its Idempotency-Key, if it came with one.
    key_digest: str = ""
    terms: JobOptions = JobOptions()
    #: Whether the request stays when the job has ended.
    keep_request: bool = False
    #: Further fields of the hash, which stay when the job has ended.
    kept: tuple[tuple[str, bytes], ...] = ()
    #: The thread whose turn it is, and how many of its messages stand before the thread's.
    thread: ThreadRef | None = None
    leading: int = 0
    #: Keys of the metadata that the policy set: no client may change them.
    policy_keys: tuple[str, ...] = ()

    @property
    def deadline_ms(self) -> int:
        """Milliseconds from its creation to its deadline; 0: none."""
        deadline = self.terms.deadline
        return max(1, int(deadline * 1000)) if deadline else 0  # one of less than a millisecond is not none

    def fields(self) -> dict[str, Argument]:
        """Returns what of its hash is known before it is written."""
        return {
            "schema": SCHEMA,
            "id": self.job_id,
            "model": self.model,
            "request": self.request,
            "metadata": self.metadata,
            "body_digest": self.body_digest,
            "key_digest": self.key_digest,
            "policy_keys": orjson.dumps(self.policy_keys),
            **({"keep_request": 1} if self.keep_request else {}),
            **self.terms.fields(),
            **dict(self.kept),
            **self._thread_fields(),
        }

    def _thread_fields(self) -> dict[str, Argument]:
        if self.thread is None:
            return {}
        named: dict[str, Argument] = {"thread": self.thread.id, "thread_digest": self.thread.digest, "thread_open": 1}
        return {**named, "thread_leading": self.leading} if self.leading else named

    def queued(self) -> bytes:
        """Returns the data of its first event, up to the time of creation, which Redis adds."""
        return orjson.dumps({"job_id": self.job_id, "model": self.model})[:-1]

    def record(self, created_at: int) -> Record:
        """Returns the job right after its writing."""
        known: dict[str, Argument] = {
            **self.fields(),
            "status": "queued",
            "attempt": 0,
            "last_seq": 1,
            "created_at": created_at,
        }
        if self.deadline_ms:
            known["deadline"] = created_at + self.deadline_ms
        found = parse({name.encode(): _bytes(value) for name, value in known.items()})
        assert found is not None
        return found


def _bytes(value: Argument) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
