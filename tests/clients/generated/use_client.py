"""Uses a client that openapi-python-client has made as `readalong_api`: its address, two models and a question are
the arguments. Prints what came, as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from readalong_api import Client
from readalong_api.api.durable_streams import read_stream
from readalong_api.api.jobs import cancel_job, get_job, submit_job
from readalong_api.models import (
    CancelledEvent,
    ChatMessage,
    ChatRequest,
    ContentEvent,
    DoneEvent,
    Job,
    Metadata,
    Problem,
    ProblemCode,
    QueuedEvent,
    ReadStreamLive,
    StartedEvent,
)

url, model, slow_model, question = sys.argv[1:]
client = Client(base_url=url)


def submit(name: str) -> Job:
    message = ChatMessage.from_dict({"role": "user", "content": question})
    body = ChatRequest(messages=[message], model=name, metadata=Metadata.from_dict({"user": "ada"}))
    made = submit_job.sync(client=client, body=body)
    assert isinstance(made, Job), made
    return made


def events(job: Job) -> Iterator[Any]:
    """Yields the events to the end, each of its own type."""
    offset = "-1"
    while True:
        answer = read_stream.sync_detailed(job.id, client=client, offset=offset, live=ReadStreamLive.LONG_POLL)
        assert answer.status_code in (200, 204), answer
        yield from answer.parsed or ()
        if "Stream-Closed" in answer.headers:
            return
        offset = answer.headers["Stream-Next-Offset"]


told = list(events(submit(model)))
assert isinstance(told[0], QueuedEvent)
assert isinstance(told[1], StartedEvent)
assert isinstance(told[-1], DoneEvent)
text = "".join(event.content for event in told if isinstance(event, ContentEvent))

slow = submit(slow_model)
coming = events(slow)
while not isinstance(next(coming), ContentEvent):
    pass
cancelled = cancel_job.sync(slow.id, client=client)
assert isinstance(cancelled, Job), cancelled
*_, end = coming
assert isinstance(end, CancelledEvent)
ended = get_job.sync(slow.id, client=client)
assert isinstance(ended, Job)
assert ended.metrics is not None

refused = submit_job.sync(client=client, body=ChatRequest(messages=[]))
assert isinstance(refused, Problem)
assert refused.code is ProblemCode.INVALID_REQUEST
missing = get_job.sync("x" * 22, client=client)
assert isinstance(missing, Problem)

print(
    json.dumps(
        {
            "text": text,
            "end": told[-1].content,
            "worker": told[1].worker.host,
            "by": end.by,
            "status": ended.status,
            "metadata": ended.metadata.to_dict(),
            "field": refused.field,
            "codes": [refused.code, missing.code],
        }
    )
)
