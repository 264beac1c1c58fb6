"""langchain-openai: whole and in chunks, by chat completions and by Responses."""

import json
import sys

from langchain_openai import ChatOpenAI

url, model, question = sys.argv[1:]
texts = []
for responses in (False, True):
    chat = ChatOpenAI(model=model, base_url=url, api_key="sk-of-no-use", use_responses_api=responses, max_retries=0)
    texts += [chat.invoke(question).text, "".join(chunk.text for chunk in chat.stream(question))]
print(json.dumps(texts))
