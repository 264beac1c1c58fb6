"""The built-in demo model: a small server that speaks OpenAI's chat completions and misbehaves on demand.

# Layout

Pure modules (no I/O, no await):

- `behaviours`      the names of all behaviours
- `profile`         `Profile`: the pace, the length and the behaviours of one answer
- `chat_request`    a checked request body: `ChatRequest`
- `text`            the model's words, and their tokens
- `tool_calls`      tool calls, with arguments made from each tool's JSON schema
- `reply`           the whole answer, known before its first token is sent
- `chunks`          the answer as server-sent events
- `completion_body` the answer as one JSON body
- `faults`          faults in mid-stream
- `errors`          `ApiError` and OpenAI's error body
- `limits`          the limits of one request and of all together

I/O:

- `stats`           the counters and streams of `/stats`
- `journal`         requests and ends of streams as lines of a file
- `timer_wheel`     one timer for all paced streams
- `paced_sender`    writes a stream at its pace
- `stream_sender`   writes any stream: paced, at full speed, or in odd writes
- `demo_model`      `DemoModel`: one request, from its body to the end of its stream
- `server`          the routes, `create_app` and `serve`
- `__main__`        `python -m readalong.testing`

The answer depends on the request alone: a test calls `text_for(body)` for the expected text.
"""

from readalong.testing.behaviours import Behaviour
from readalong.testing.reply import text_for, tokens_for

__all__ = ["Behaviour", "text_for", "tokens_for"]
