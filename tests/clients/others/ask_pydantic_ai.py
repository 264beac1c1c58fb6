"""pydantic-ai: whole and streamed, by chat completions and by Responses."""

import asyncio
import json
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


async def ask(url: str, model: str, question: str) -> list[str]:
    texts = []
    for kind in (OpenAIChatModel, OpenAIResponsesModel):
        agent = Agent(kind(model, provider=OpenAIProvider(base_url=url, api_key="sk-of-no-use")))
        texts.append((await agent.run(question)).output)
        async with agent.run_stream(question) as run:
            texts.append("".join([piece async for piece in run.stream_text(delta=True)]))
    return texts


print(json.dumps(asyncio.run(ask(*sys.argv[1:]))))
