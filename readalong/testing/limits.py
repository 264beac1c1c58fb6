"""How much one request, and all of them together, may cost. What is asked beyond it is a 400, 413 or 503."""

from typing import Final

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
READING_BYTES: Final = 64 * 1024 * 1024
"""Of all bodies that are being read."""

MAX_MESSAGES: Final = 10_000
MAX_TOOLS: Final = 128
MAX_TOOL_NAME: Final = 256
MAX_MODEL_NAME: Final = 256
"""Characters: each chunk repeats it."""

MAX_KEY: Final = 100
"""Characters of `demo.key`: each token of `numbered` repeats it."""

MAX_BEHAVIOURS: Final = 64
MAX_TEXT: Final = 16_384
"""Characters of the question from which the answer is made."""

COUNTED_TEXT: Final = 262_144
"""Characters of all messages whose tokens are counted; what is beyond is estimated."""

MAX_TOKENS: Final = 200_000
"""Of all choices of an answer."""

ENDLESS_TOKENS: Final = 5_000_000
"""Where all choices of an endless stream together end, with the finish reason `length`."""

ENDLESS_WHOLE_TOKENS: Final = 4000
"""Where an endless answer is cut when it is not streamed; its finish reason is then `length`."""

MAX_WHOLE_CHARACTERS: Final = 4 * 1024 * 1024
"""Of the text of all choices of an answer that is not streamed."""

MAX_LOGPROBS: Final = 100_000
"""Entries of log probabilities, alternatives too, of an answer that is not streamed."""

ARGUMENT_BYTES: Final = 65_536
"""Of the arguments of all calls of an answer."""

ARGUMENT_VALUES: Final = 10_000
"""A schema that refers to itself many times would otherwise grow without measure. Of all calls of an answer."""

CALL_VALUES: Final = 1000
"""Of one call."""

OPEN_BYTES: Final = 128 * 1024 * 1024
"""Of all answers that are being given, as `Reply.weight` reckons."""

KEPT_BODIES: Final = 100
KEPT_BODY_BYTES: Final = 256 * 1024
"""A longer request body is not kept."""

KEPT_PIECES: Final = 50_000
"""Of an endless stream only the text of so many tokens is kept."""

KEPT_OPEN_PIECES: Final = 4_000_000
"""Of all open streams."""

KEPT_CHARACTERS: Final = 64 * 1024 * 1024
"""Of the texts of all streams that have ended; beyond it the oldest are forgotten."""

JOURNAL_BYTES: Final = 1024 * 1024 * 1024
"""Where a journal ends, with a last line that says so."""

MIN_RATE: Final = 0.01
MAX_RATE: Final = 1_000_000.0
"""Tokens a second."""

MAX_PAUSE_SECONDS: Final = 3600.0
