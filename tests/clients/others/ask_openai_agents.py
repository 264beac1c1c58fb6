"""openai-agents: whole and streamed, by chat completions and by Responses."""

import asyncio
import json
import sys

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI


async def ask(url: str, model: str, question: str) -> list[str]:
    texts = []
    client = AsyncOpenAI(base_url=url, api_key="sk-of-no-use")
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        agent = Agent(name="A", model=kind(model=model, openai_client=client))
        texts.append((await Runner.run(agent, question)).final_output)
        streamed = Runner.run_streamed(agent, question)
        async for _ in streamed.stream_events():
            pass
        texts.append(streamed.final_output)
    return texts


set_tracing_disabled(True)
print(json.dumps(asyncio.run(ask(*sys.argv[1:]))))
