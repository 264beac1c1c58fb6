"""How much a fuzzer tries, and from which seed: TIMES (1) and SEED (1) of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeVar

import hypothesis

SEED: Final = int(os.environ.get("SEED") or 1)
TIMES: Final = float(os.environ.get("TIMES") or 1)

#: Not to explain, which tries a failed example hundreds of times more.
_PHASES: Final = tuple(phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain)

_Test = TypeVar("_Test", bound=Callable[..., object])


def fuzzed(examples: int) -> Callable[[_Test], _Test]:
    """Has a `@given` test try so many examples, times TIMES: with one SEED the same ones."""

    def decorate(test: _Test) -> _Test:
        tried = hypothesis.settings(max_examples=max(1, int(examples * TIMES)), phases=_PHASES)(test)
        return hypothesis.seed(SEED)(tried)

    return decorate
