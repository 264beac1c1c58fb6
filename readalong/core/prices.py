"""What a job has cost, by the prices of the settings."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator

_CURRENCY: Final = re.compile(r"\s*([A-Z]{3})\s*:(.*)", re.DOTALL)
_ROW: Final = re.compile(r"\s*(\S.*?)\s*=\s*(\d{1,9}(?:\.\d{1,9})?)\s*/\s*(\d{1,9}(?:\.\d{1,9})?)\s*")
_UNIT: Final = 1_000_000


class Price(NamedTuple):
    """Of a million tokens."""

    model: str
    prompt: float
    completion: float


class Prices(NamedTuple):
    """The rows of `READALONG_PRICES`, in their order, in one currency."""

    currency: str
    rows: tuple[Price, ...]

    def cost(self, model: str, usage: dict[str, Any] | None) -> dict[str, Any] | None:
        """Returns `amount`, `currency`, and the parts for prompt and completion; None if the price or the usage is not
        known. The first row that fits the model counts."""
        row = next((row for row in self.rows if fnmatchcase(model, row.model)), None)
        asked, said = (_count((usage or {}).get(name)) for name in ("prompt_tokens", "completion_tokens"))
        if row is None or asked is None or said is None:
            return None
        prompt, completion = asked * row.prompt / _UNIT, said * row.completion / _UNIT
        return {
            "amount": round(prompt + completion, 9),
            "currency": self.currency,
            "prompt": round(prompt, 9),
            "completion": round(completion, 9),
        }


@lru_cache
def parse_prices(text: str) -> Prices:
    """Returns the prices of `USD: model=0.25/2,…`. Raises ValueError."""
    found = _CURRENCY.fullmatch(text)
    currency, rest = (found[1], found[2]) if found else ("USD", text)
    rows = []
    for part in rest.split(","):
        if not part.strip():
            continue
        row = _ROW.fullmatch(part)
        if row is None:
            raise ValueError("must be USD: model=0.25/2,… with prices of a million prompt and completion tokens")
        rows.append(Price(row[1], float(row[2]), float(row[3])))
    return Prices(currency, tuple(rows))


def _checked(text: str) -> str:
    parse_prices(text)
    return text


#: The type of the setting.
PriceList = Annotated[str, AfterValidator(_checked)]


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**53 else None
