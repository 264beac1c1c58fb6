"""The limits of one request and of all together. A request beyond one gets a 400, 413 or 503."""

from typing import Final

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
READING_BYTES: Final = 64 * 1024 * 1024
"""All bodies that are being read."""

MAX_MESSAGES: Final = 10_000
MAX_TOOLS: Final = 128
MAX_TOOL_NAME: Final = 256
MAX_MODEL_NAME: Final = 256
"""Characters: each chunk repeats the name."""

MAX_KEY: Final = 100
"""Characters of `demo.key`: each token of `numbered` repeats it."""

MAX_BEHAVIOURS: Final = 64
MAX_TEXT: Final = 16_384
"""Characters of the question that the answer is made from."""

COUNTED_TEXT: Final = 262_144
"""Characters of all messages whose tokens are counted; the rest is estimated."""

MAX_TOKENS: Final = 200_000
"""All choices of an answer."""

ENDLESS_TOKENS: Final = 5_000_000
"""All choices of an endless stream; its finish reason is then `length`."""

ENDLESS_BODY_TOKENS: Final = 4000
"""An endless answer that is not streamed; its finish reason is then `length`."""

MAX_BODY_CHARACTERS: Final = 4 * 1024 * 1024
"""The text of all choices of an answer that is not streamed."""

MAX_LOGPROBS: Final = 100_000
"""Log probabilities, with their alternatives, of an answer that is not streamed."""

ARGUMENT_BYTES: Final = 65_536
"""The arguments of all calls of an answer."""

ARGUMENT_VALUES: Final = 10_000
"""All calls of an answer: a schema that refers to itself many times would grow without bound."""

CALL_VALUES: Final = 1000
"""One call."""

OPEN_BYTES: Final = 128 * 1024 * 1024
"""All open answers, as estimated by `Reply.weight`."""

KEPT_BODY_BYTES: Final = 256 * 1024
"""A longer request body is not kept."""

KEPT_TOKENS: Final = 50_000
"""Tokens of one stream whose text is kept."""

KEPT_OPEN_TOKENS: Final = 4_000_000
"""Tokens of all open streams whose text is kept."""

KEPT_CHARACTERS: Final = 64 * 1024 * 1024
"""The texts of all ended streams; the oldest are forgotten first."""

JOURNAL_BYTES: Final = 1024 * 1024 * 1024
"""A journal ends here, with a last line of the kind `full`."""

MIN_RATE: Final = 0.01
MAX_RATE: Final = 1_000_000.0
"""Tokens a second."""

MAX_PAUSE_SECONDS: Final = 3600.0
