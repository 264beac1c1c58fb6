"""The built-in demo model: a small server that speaks OpenAI's chat completions and misbehaves on demand.

# Layout

Pure modules, which never await and do no I/O:

- `behaviours`  the ways to behave, and `Manner`: pace and behaviours of one answer
- `question`    a request body, checked: `Question`
- `prose`       what the model says, and how text is cut into tokens
- `calls`       tool calls, with arguments made from each tool's JSON schema
- `reply`       `reply_to(question)`: the whole answer, known before its first token is sent
- `chunks`      the answer as server-sent events
- `whole`       the answer as one JSON body
- `faults`      what goes wrong in the middle of a stream
- `refusals`    `ApiError` and OpenAI's error body
- `limits`      how much a request, and all of them together, may cost

The I/O around them:

- `stats`       what `/stats` shows
- `journal`     the same as a file, line by line
- `wheel`       one timer for all paced streams
- `paced`       writes a stream that keeps a pace
- `pump`        writes any stream: paced, as fast as it can, or split into odd writes
- `completions` one request, from its body to the end of its stream
- `server`      the routes, `create_app` and `serve`
- `__main__`    `python -m readalong.testing`

The answer depends on the request alone, so a test can ask `text_for(body)` what it should have received.
"""

from readalong.testing.behaviours import Behaviour
from readalong.testing.reply import text_for, tokens_for

__all__ = ["Behaviour", "text_for", "tokens_for"]
