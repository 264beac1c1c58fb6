"""Every name in Redis comes from here.

The keys of one job share the hash tag `{id}`: the scripts of a job's log touch one slot, and so do those of a
thread. The queue and the lists of jobs have keys in other slots, so that readalong as a whole needs one server.
The arq names are arq's own: its job and in-progress keys are not configurable, its queue is. They are spelled out:
to import arq for them would bring in the Redis client, and cost the demo a fifth of its own start.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1

from readalong.core.states import Status

_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")


def new_job_id() -> str:
    """An unguessable id: 128 random bits as 22 URL-safe characters."""
    job_id = secrets.token_urlsafe(16)
    # A command line would take it for an option.
    return new_job_id() if job_id.startswith("-") else job_id


def is_job_id(text: str) -> bool:
    """Whether `text` has the form of an id. Anything else must never become part of a key."""
    return _ID.fullmatch(text) is not None


def model_digest(model: str) -> str:
    """The SHA-1 of a model's name, which stands for it in the name of its list: clients choose names."""
    return sha1(model.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """The names under one prefix; two deployments with two prefixes can share a Redis."""

    prefix: str = "readalong"

    def job(self, job_id: str) -> str:
        """Hash: the job's record."""
        return f"{self.prefix}:job:{{{job_id}}}"

    def events(self, job_id: str) -> str:
        """Stream: the log, with entry ids `<seq>-0`."""
        return f"{self.prefix}:job:{{{job_id}}}:events"

    def cancel(self, job_id: str) -> str:
        """String: the cancel flag."""
        return f"{self.prefix}:job:{{{job_id}}}:cancel"

    def live(self, job_id: str) -> str:
        """Channel: each append."""
        return f"{self.prefix}:job:{{{job_id}}}:live"

    def compacted(self, job_id: str) -> str:
        """Stream: the small form of an ended log; it exists only while the script that writes it runs."""
        return f"{self.prefix}:job:{{{job_id}}}:compacted"

    def watchers(self, job_id: str) -> str:
        """Sorted set with a time to live: visits, `<hub>:<number>`, by API processes that have watchers of a job that
        ends when it has none, by the time until which that holds without asking, in milliseconds."""
        return f"{self.prefix}:job:{{{job_id}}}:watchers"

    def readers(self, job_id: str) -> str:
        """Hash with a time to live: API processes with streams that tell how many read along, each with their number
        and the time until which that holds, in milliseconds."""
        return f"{self.prefix}:job:{{{job_id}}}:readers"

    def of_job(self, job_id: str) -> tuple[str, str, str, str]:
        """The four that every script takes, in its order."""
        return _of_job(self, job_id)

    @property
    def jobs(self) -> str:
        """Sorted set: job ids by time of creation, in milliseconds."""
        return f"{self.prefix}:jobs"

    @property
    def active(self) -> str:
        """Sorted set: ids of jobs that have not ended, by time of creation; what the sweep looks at."""
        return f"{self.prefix}:active"

    def jobs_in(self, state: str) -> str:
        """Sorted set: ids of the jobs in this state, by time of creation. It may lag behind a job's hash."""
        return f"{self.prefix}:jobs:{state}"

    @property
    def by_state(self) -> list[str]:
        """The sorted sets of all states, in the order of `Status`, in which scripts take them."""
        return [self.jobs_in(state) for state in Status]

    @property
    def ids(self) -> str:
        """Sorted set: ids of the jobs whose records are there, all with the score 0, so that Redis finds those with a
        beginning."""
        return f"{self.prefix}:jobs:ids"

    @property
    def model_jobs(self) -> str:
        """What the names of the sorted sets of models begin with; scripts add the SHA-1 of a model's name."""
        return f"{self.prefix}:jobs:model:"

    def jobs_of(self, model: str) -> str:
        """Sorted set with a time to live: ids of the jobs for this model, by time of creation."""
        return self.model_jobs + model_digest(model)

    @property
    def presence(self) -> str:
        """Sorted set: ids of jobs that end without a watcher, by the time (ms) from which on they are unwatched."""
        return f"{self.prefix}:presence"

    @property
    def orphans_from(self) -> str:
        """String with a time to live: the time, in milliseconds, before which none of them counts as an orphan."""
        return f"{self.prefix}:presence:from"

    def idempotency(self, digest: str) -> str:
        """String: the job and body of an Idempotency-Key, by the key's SHA-256."""
        return f"{self.prefix}:idempotency:{digest}"

    def repeats(self, digest: str) -> str:
        """List with a time to live: jobs whose submit may come again since no answer is out, by the SHA-256 of their
        body."""
        return f"{self.prefix}:repeats:{digest}"

    def worker(self, worker_id: str) -> str:
        """String with a time to live: a worker that is alive."""
        return f"{self.prefix}:worker:{worker_id}"

    def alive(self, worker_id: str) -> str:
        """Channel: the worker is subscribed to it as long as its process lives; it carries no message."""
        return f"{self.prefix}:alive:{worker_id}"

    @property
    def workers(self) -> str:
        """Sorted set: worker ids by the time at which they count as dead, in milliseconds."""
        return f"{self.prefix}:workers"

    @property
    def probe(self) -> str:
        """String with a time to live: an API process has looked whether Redis takes writes."""
        return f"{self.prefix}:probe"

    @property
    def changes(self) -> str:
        """Channel: each change of a job's state, as `{"id":…,"type":…}`. The scripts of a job's log make this name of
        the name of its live channel."""
        return f"{self.prefix}:changes"

    @property
    def stats_names(self) -> str:
        """What the names of the minutes' counts begin with; scripts add the number of a minute."""
        return f"{self.prefix}:stats:"

    def stats(self, minute: int) -> str:
        """Hash with a time to live: what happened in this minute since the epoch."""
        return f"{self.stats_names}{minute}"

    @property
    def control(self) -> str:
        """Channel: nudges to the workers; a hint only."""
        return f"{self.prefix}:control"

    def heartbeat(self, process_id: str) -> str:
        """Channel: a hub's heartbeat to itself. That it has a subscriber says that the hub's process lives."""
        return f"{self.prefix}:heartbeat:{process_id}"

    @property
    def sweep(self) -> str:
        """String with a time to live: some worker swept lately."""
        return f"{self.prefix}:sweep"

    @property
    def wake(self) -> str:
        """List: one element for each enqueued job; workers BLPOP it."""
        return f"{self.prefix}:wake"

    @property
    def queue(self) -> str:
        """Sorted set: arq's queue; the score is a job's place in milliseconds, and 10^14 more while it is taken."""
        return f"arq:queue:{self.prefix}"

    @property
    def weight(self) -> str:
        """String with a time to live: bytes of the waiting jobs' requests, as some process found them lately."""
        return f"{self.prefix}:queued:bytes"

    @property
    def leases(self) -> str:
        """Sorted set: taken jobs by the end of their lease, in milliseconds."""
        return f"{self.prefix}:leases"

    @property
    def liveness(self) -> str:
        """String with a time to live: some worker was heard lately, so that leases could be renewed."""
        return f"{self.prefix}:liveness"

    def last_acquire(self, worker_id: str) -> str:
        """String with a time to live: the token and the jobs of a worker's last take."""
        return f"{self.prefix}:last-acquire:{worker_id}"

    def aside(self, name: str) -> str:
        """Any type: what stood in a shared key and was of a wrong type, for a day."""
        return f"{self.prefix}:aside:{name}"

    def thread(self, digest: str) -> str:
        """Hash: a thread, by the digest of its name and its owner (`ThreadRef`)."""
        return f"{self.prefix}:thread:{{{digest}}}"

    def thread_jobs(self, digest: str) -> str:
        """Sorted set: ids of the thread's jobs, by time of creation, in milliseconds."""
        return f"{self.thread(digest)}:jobs"

    def of_thread(self, digest: str) -> tuple[str, ...]:
        """The six that every script of a thread takes, in its order: the thread, the ids of its entries by their place
        (sorted set), the entries (hash), its unrecorded turns (hash), its waiting turns (list), its jobs."""
        parts = ("order", "entries", "turns", "waiting")
        name = self.thread(digest)
        return (name, *(f"{name}:{part}" for part in parts), self.thread_jobs(digest))

    @property
    def shared(self) -> dict[str, str]:
        """The keys that all jobs share, and the type of each as TYPE says it."""
        sets = (self.queue, self.leases, self.jobs, self.active, self.presence, self.workers, self.ids)
        return {**dict.fromkeys((*sets, *self.by_state), "zset"), self.wake: "list"} | dict.fromkeys(
            (self.liveness, self.sweep, self.orphans_from, self.probe, self.weight), "string"
        )

    def type_of(self, name: str) -> str | None:
        """The type that a key must have, unless it is a job's own."""
        if name.startswith(self.model_jobs) or (name.startswith(f"{self.prefix}:job:") and name.endswith(":watchers")):
            return "zset"
        if name.startswith((self.idempotency(""), self.last_acquire(""), self.worker(""))):
            return "string"
        if name.startswith(self.repeats("")):
            return "list"
        return self.shared.get(name)

    def arq_job(self, job_id: str) -> str:
        """String: arq's description of the call."""
        return f"arq:job:{job_id}"

    def arq_in_progress(self, job_id: str) -> str:
        """String: who holds the lease."""
        return f"arq:in-progress:{job_id}"

    def arq_retry(self, job_id: str) -> str:
        """String: how often arq ran the job."""
        return f"arq:retry:{job_id}"


@lru_cache(maxsize=4096)
def _of_job(keys: Keys, job_id: str) -> tuple[str, str, str, str]:
    """Cached, for each append asks."""
    return keys.job(job_id), keys.events(job_id), keys.cancel(job_id), keys.live(job_id)
