"""The direct way: an endpoint that relays `AsyncOpenAI`, without a queue, a log or a second watcher."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI
from starlette.responses import StreamingResponse

app = FastAPI()
client = AsyncOpenAI()


@app.post("/chat/stream")
async def chat_stream(body: dict[str, Any]) -> StreamingResponse:
    """Streams the answer's text."""

    async def pieces() -> AsyncIterator[str]:
        stream = await client.chat.completions.create(
            model=body["model"], messages=body["messages"], stream=True, extra_body={"bench": body["bench"]}
        )
        async for chunk in stream:
            if chunk.choices and (content := chunk.choices[0].delta.content):
                yield f"data: {json.dumps({'content': content})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Returns 200 while the process lives."""
    return {"status": "ok"}


def run(port: int) -> int:
    """Serves until SIGTERM with uvicorn's faster parts, as the API does; returns the exit code."""
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_config=None)
    return 0
