"""Builds small histories of runs: tests start from a clean one and break it in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START = 1_000_000.0

#: Type and fields.
Said = tuple[str, dict[str, Any]]
Record = dict[str, Any]


def tokens(tag: str, call: int, count: int) -> list[str]:
    """Returns the tokens of one call: no two calls have a token in common."""
    return [f"<{tag}.{call}.{number}>é" for number in range(1, count + 1)]


def said(texts: Iterable[str], kind: str = "content") -> list[Said]:
    return [(kind, {"content": text}) for text in texts]


def begun(kind: str, attempt: int, pid: int, **fields: str) -> Said:
    return kind, {"attempt": attempt, **fields, "worker": {"id": f"w{pid}", "host": "h", "pid": pid}}


def compact(events: Sequence[Said]) -> list[Any]:
    """Returns a log whose last attempt's content is merged, with its text taken from the end."""
    last = max((place for place, (kind, _) in enumerate(events) if kind in ("started", "restarted")), default=0)
    entries: list[Any] = []
    pieces: list[str] = []
    offset = 0
    for number, (kind, fields) in enumerate(events, 1):
        if kind == "content" and number > last + 1:
            pieces.append(fields["content"])
            if events[number][0] != "content":
                row = {"pieces": ",".join(str(len(piece)) for piece in pieces), "from": str(offset)}
                entries.append([f"{number}-0", {"type": kind, "data": "{}", **row}])
                offset += len("".join(pieces))
                pieces = []
        else:
            entries.append([f"{number}-0", {"type": kind, "data": dumped(fields)}])
    return entries


def dumped(fields: Record) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _numbers(fds: int) -> Record:
    return {"rss_kb": 9, "fds": fds, "threads": 3}


@dataclass
class HistoryBuilder:
    """The files of a run, as lists of their lines. Tests may change them before `write`."""

    clients: list[Record] = field(default_factory=list)
    model: list[Record] = field(default_factory=list)
    faults: list[Record] = field(default_factory=list)
    logs: list[Record] = field(default_factory=list)
    run: Record = field(
        default_factory=lambda: {
            "seed": 7,
            "started": START,
            "seconds": 60,
            "lease": 1.5,
            "outage": 20,
            "max_attempts": 3,
            "aof": "always",
            "retry": "retry",
            "memory": {"api": 100, "worker": 200},
            "settings": {
                "READALONG_REDIS_TIMEOUT": "1",
                "READALONG_JOB_TIMEOUT": "12",
                "READALONG_MODEL_PATIENCE": "3",
                "READALONG_FIRST_TOKEN_TIMEOUT": "6",
            },
        }
    )
    after: Record = field(
        default_factory=lambda: {
            "queue": [],
            "in_progress": [],
            "open": [],
            "channels": ["readalong:control", "readalong:heartbeat:1"],
            "connections": {"redis": 12, "model": 0},
            "traces": [],
            "memory": {"api-0": 99, "worker-3": 150},
            "shut": [],
            "hubs": ["<Hub feeds=0 watchers=0 <PubSubConnection up>>"],
            "processes": {
                "api-0": {"rss_kb": 9, "fds": 20, "threads": 3},
                "worker-3": {"rss_kb": 9, "fds": 20, "threads": 3},
            },
            "before": {
                "connections": {"redis": 10, "model": 0},
                "processes": {
                    "api-0": {"rss_kb": 9, "fds": 18, "threads": 3},
                    "worker-1": {"rss_kb": 9, "fds": 18, "threads": 3},
                },
            },
        }
    )
    _clients: int = 0
    watches: int = 0

    def submit(self, tag: str, t: float, status: int | None = 202, **terms: Any) -> None:
        job = f"id-{tag}" if status == 202 else None
        line = {"t": START + t, "kind": "submit", "tag": tag, "key": f"key-{tag}", "replica": 0, "status": status}
        self.clients.append({**line, "job": job, "terms": terms})

    def chat(self, tag: str, t: float, status: int | None = 200, **terms: Any) -> None:
        """Adds a submit by /chat/stream."""
        self.submit(tag, t, 202 if status == 200 else status, **terms)
        self.clients[-1].update(status=status, via="chat")

    def cancel(self, tag: str, t: float, status: int | None = 202) -> None:
        line = {"t": START + t, "kind": "cancel", "job": f"id-{tag}", "via": "api", "replica": 0, "status": status}
        self.clients.append(line)

    def erase(self, tag: str, t: float, status: int | None = 204) -> None:
        """Adds an erase, requested half a second before the reply."""
        line = {"t": START + t, "kind": "erase", "job": f"id-{tag}", "asked": START + t - 0.5, "replica": 0}
        self.clients.append({**line, "status": status})

    def attack(self, attack: str, t: float, *statuses: int | None, **more: Any) -> None:
        """Adds an attack on replica 0, started half a second before."""
        line = {"t": START + t, "kind": "attack", "attack": attack, "replica": 0, "began": START + t - 0.5}
        self.clients.append({**line, "statuses": [*statuses], **more})

    def shut(self, t: float, until: float | None, worker: str = "worker-3") -> None:
        """Adds a period in which a worker took no jobs."""
        over = None if until is None else START + until
        self.after["shut"].append({"t": START + t, "worker": worker, "code": "model_redirected", "until": over})

    def call(self, call: str, t: float, until: float, texts: Iterable[str], state: str = "finished") -> None:
        """Adds a call of the model, `tag.number`, with all text that was sent."""
        self._request(call, t, 200)
        sent = {"tokens": 1, "text": "".join(texts)}
        self.model.append({"t": START + until, "kind": "closed", "call": call, "state": state, **sent})

    def refused(self, call: str, t: float, status: int) -> None:
        self._request(call, t, status)

    def _request(self, call: str, t: float, status: int) -> None:
        asked = {"tag": call.partition(".")[0], "model": "demo-numbered", "status": status}
        self.model.append({"t": START + t, "kind": "request", "call": call, **asked})

    def fault(self, kind: str, t: float, until: float | None, target: str = "worker-1", **fields: Any) -> None:
        over = None if until is None else START + until
        self.faults.append({"t": START + t, "kind": kind, "target": target, "until": over, **fields})

    def job(
        self, tag: str, events: Sequence[Said], created: float, ended: float, *, compacted: bool = False, **hash: str
    ) -> None:
        """Adds the job's log and hash at the end."""
        plain = [
            [f"{number}-0", {"type": kind, "data": dumped(fields)}] for number, (kind, fields) in enumerate(events, 1)
        ]
        attempts = sum(kind in ("started", "restarted") for kind, _ in events)
        fields = {
            "id": f"id-{tag}",
            "status": events[-1][0],
            "model": "demo-numbered",
            "attempt": str(attempts),
            "last_seq": str(len(events)),
            "created_at": str(int((START + created) * 1000)),
            "ended_at": str(int((START + ended) * 1000)),
            "request": dumped({"messages": [{"role": "user", "content": "Go"}], "demo": {"key": tag}}),
            **hash,
        }
        entries = compact(events) if compacted else plain
        self.logs.append({"job": f"id-{tag}", "hash": fields, "entries": entries, "ttl": {"job": 9, "events": 9}})

    def client(
        self,
        tag: str,
        events: Sequence[Said],
        t: float,
        *stops: int,
        after: int = 0,
        merged: bool = False,
        how: str = "terminal",
    ) -> str:
        """Adds a client that reads on from `after`; its connection breaks after each position in `stops`."""
        name, job = f"c{self._clients}", f"id-{tag}"
        self._clients += 1
        self.clients.append({"t": START + t, "kind": "client", "client": name, "job": job, "after": after})
        ends = [*stops, len(events)] if how == "terminal" else [*stops]
        for end in ends:
            last = end == len(events)
            seen = _seen(events, after, end, merged=merged)
            self.watch(name, job, t, seen, after=after, how="end" if last else "reset")
            after = end
            t += 0.5
        self.clients.append({"t": START + t, "kind": "client_end", "client": name, "how": how})
        return name

    def watch(
        self, client: str, job: str, t: float, seen: Iterable[Record], *, after: int, how: str, status: int = 200
    ) -> None:
        watch = f"w{self.watches}"
        self.watches += 1
        opened = {"t": START + t, "kind": "open", "watch": watch, "client": client, "job": job, "after": after}
        self.clients.append({**opened, "replica": 1, "status": status})
        for place, event in enumerate(seen):
            self.clients.append({"t": START + t + 0.01 * (place + 1), "kind": "event", "watch": watch, **event})
        self.clients.append({"t": START + t + 0.4, "kind": "close", "watch": watch, "how": how})

    def chatter(self, tag: str, events: Sequence[Said], t: float, lines: Sequence[Record | str], how: str) -> str:
        """Adds a client of /chat/stream that read these lines; after `reset` it reads the events, from their start."""
        name, watch = self.client(tag, events, t + 0.5), f"w{self.watches}"
        begin = next(place for place, line in enumerate(self.clients) if line.get("client") == name)
        if how != "reset":
            self.clients = self.clients[: begin + 1]
            self.clients.append({"t": START + t + 0.5, "kind": "client_end", "client": name, "how": "terminal"})
        self.clients[begin]["t"] = START + t
        self.watches += 1
        opened = {"watch": watch, "client": name, "job": f"id-{tag}", "after": 0, "replica": 1}
        found: list[Record] = [{"t": START + t, "kind": "open", **opened, "status": 200, "form": "chat"}]
        for place, line in enumerate(lines, 1):
            data = line if isinstance(line, str) else dumped({"content": "", **line})
            found.append({"t": START + t + 0.01 * place, "kind": "said", "watch": watch, "data": data})
        found.append({"t": START + t + 0.4, "kind": "close", "watch": watch, "how": how})
        self.clients[begin + 1 : begin + 1] = found
        return watch

    def log(self, tag: str) -> Record:
        return next(line for line in self.logs if line["job"] == f"id-{tag}")

    def entries(self, tag: str) -> list[Any]:
        entries: list[Any] = self.log(tag)["entries"]
        return entries

    def seen(self, watch: str) -> list[int]:
        """Returns the indexes of a watch's events among the clients' lines."""
        return [place for place, line in enumerate(self.clients) if line["kind"] == "event" and line["watch"] == watch]

    def line(self, **wanted: Any) -> Record:
        """Returns the first line of any file that has these fields."""
        lines = [*self.clients, *self.model, *self.faults]
        return next(line for line in lines if wanted.items() <= line.items())

    def write(self, directory: Path) -> Path:
        for name, lines in (
            ("clients", self.clients),
            ("model", self.model),
            ("faults", self.faults),
            ("logs", self.logs),
        ):
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            (directory / f"{name}.jsonl").write_text(text, "utf-8")
        (directory / "run.json").write_text(json.dumps(self.run), "utf-8")
        (directory / "after.json").write_text(json.dumps(self.after), "utf-8")
        return directory


def _seen(events: Sequence[Said], after: int, end: int, *, merged: bool) -> list[Record]:
    """Returns the events that a client reads from one position to another."""
    found: list[Record] = []
    for number, (kind, fields) in enumerate(events[after:end], after + 1):
        if merged and found and kind == "content" == found[-1]["type"]:
            so_far = json.loads(found.pop()["data"])["content"]
            found.append(_read(number, kind, {"content": so_far + fields["content"]}))
        else:
            found.append(_read(number, kind, fields))
    return found


def _read(number: int, kind: str, fields: Record) -> Record:
    return {"id": number, "type": kind, "data": dumped({"type": kind, **fields})}
