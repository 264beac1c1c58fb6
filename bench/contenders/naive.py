"""One Redis subscription for each client, behind a StreamingResponse: the common first design."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio
import uvicorn
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from bench.contenders.contender import Running
from bench.harness.stack import Stack, answers
from bench.load.crowd import get

_BATCH: Final = 20

app = FastAPI()
client = redis.asyncio.Redis.from_url(os.environ.get("READALONG_REDIS_URL", "redis://127.0.0.1"))


@app.get("/watch/{channel}")
async def watch(channel: str) -> StreamingResponse:
    """Relays a channel."""
    pubsub = client.pubsub()
    await pubsub.subscribe(channel)

    async def events() -> AsyncIterator[bytes]:
        try:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    yield b"data: %b\n\n" % message["data"]
        finally:
            await pubsub.aclose()

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Returns 200 while the process lives."""
    return {"status": "ok"}


def run(port: int) -> int:
    """Serves until SIGTERM with uvicorn's faster parts, as the API does; returns the exit code."""
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_config=None,
        backlog=4096, timeout_graceful_shutdown=1,
    )  # fmt: skip
    return 0


@asynccontextmanager
async def start(stack: Stack) -> AsyncIterator[Running]:
    with stack.child("naive") as port:
        stack.wait("naive", lambda at: answers(at, "/healthz"))
        async with redis.asyncio.Redis.from_url(stack.redis.url) as publisher:

            async def publish(texts: Sequence[bytes]) -> None:
                async with publisher.pipeline(transaction=False) as pipe:
                    for text in texts:
                        pipe.publish("bench", text)
                    await pipe.execute()

            yield Running(port, lambda: get("/watch/bench"), {"server": stack.pids["naive"]}, publish, _BATCH)
