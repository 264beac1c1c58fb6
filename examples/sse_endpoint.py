"""An endpoint for browsers: `uvicorn sse_endpoint:app`. A reader who goes away cancels the generation."""

import json
from collections.abc import AsyncIterator

from fastapi import FastAPI, responses

from readalong.client import AsyncClient


async def frames(question: str) -> AsyncIterator[str]:
    async with AsyncClient() as client:
        async for text in client.stream_chat(question):
            yield f"data: {json.dumps(text)}\n\n"
    yield "event: end\ndata: 1\n\n"


app = FastAPI()
app.add_api_route("/", lambda: responses.FileResponse(__file__.replace("sse_endpoint.py", "page.html")))
app.add_api_route("/ask", lambda q: responses.StreamingResponse(frames(q), media_type="text/event-stream"))
