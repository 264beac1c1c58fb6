"""litellm as a client: whole and in chunks by chat completions, whole by Responses."""

import json
import sys

import litellm

url, model, question = sys.argv[1:]
named = {"model": f"openai/{model}", "api_base": url, "api_key": "sk-of-no-use"}
messages = [{"role": "user", "content": question}]
chunks = litellm.completion(messages=messages, stream=True, **named)
response = litellm.responses(input=question, **named)
texts = [
    litellm.completion(messages=messages, **named).choices[0].message.content,
    "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
    "".join(part.text for item in response.output for part in item.content),
]
print(json.dumps(texts))
