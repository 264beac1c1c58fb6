"""The number of a fuzzer's examples, and their seed: TIMES (1) and SEED (1) of the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, TypeVar

import hypothesis

SEED: Final = int(os.environ.get("SEED") or 1)
TIMES: Final = float(os.environ.get("TIMES") or 1)

#: Without the phase `explain`, which tries a failed example hundreds of times more.
_PHASES: Final = tuple(phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.explain)

_Test = TypeVar("_Test", bound=Callable[..., object])


def fuzzed(examples: int) -> Callable[[_Test], _Test]:
    """Runs a `@given` test with `examples` times TIMES examples; one SEED gives the same ones."""

    def decorate(test: _Test) -> _Test:
        tried = hypothesis.settings(max_examples=max(1, int(examples * TIMES)), phases=_PHASES)(test)
        return hypothesis.seed(SEED)(tried)

    return decorate
