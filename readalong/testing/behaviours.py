"""The behaviours of the demo model (docs/demo-model.md describes each)."""

from enum import StrEnum


class Behaviour(StrEnum):
    """A value of `demo.behaviour`; with `demo-` before it, a model's name."""

    SLOW_FIRST_TOKEN = "slow-first-token"
    STALL = "stall"
    CUT = "cut"
    RESET = "reset"
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    MALFORMED = "malformed"
    ERROR = "error"
    ENDLESS = "endless"
    FAST = "fast"
    AZURE = "azure"
    UNICODE = "unicode"
    TOOLS = "tools"
    BAD_ARGUMENTS = "bad-arguments"
    NO_INDEX = "no-index"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    USAGE_NONE = "usage-none"
    NOT_SSE = "not-sse"
    CLOSE_EARLY = "close-early"
    LENGTH = "length"
    HANG = "hang"
    SPLIT = "split"
    CRLF = "crlf"
    LOGPROBS = "logprobs"
    CHOICES = "choices"
    NUMBERED = "numbered"


FAILURES = frozenset(
    {
        Behaviour.TOO_MANY,
        Behaviour.SERVER_ERROR,
        Behaviour.STALL,
        Behaviour.CUT,
        Behaviour.RESET,
        Behaviour.MALFORMED,
        Behaviour.ERROR,
        Behaviour.NOT_SSE,
        Behaviour.CLOSE_EARLY,
        Behaviour.HANG,
    }
)
"""The behaviours that `demo.times` limits."""
