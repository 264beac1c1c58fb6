"""Variables of the environment that look like settings and are none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

from readalong.core.settings import Settings

#: Variables with our prefix that are no fields: what the commands of a client read.
_OTHERS: Final = ("URL",)
#: What Kubernetes tells each container of a service called `readalong` or `readalong-…`.
_OF_A_SERVICE: Final = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """Returns a sentence for each variable with our prefix that is no setting. It names the nearest setting."""
    known = [*(name.upper() for name in Settings.model_fields), *_OTHERS]
    lines = []
    for name, value in sorted(environment.items()):
        prefix, is_ours, field = name.upper().partition("READALONG_")
        if prefix or not is_ours or field in known:
            continue
        if _OF_A_SERVICE.search(f"_{field}") or (name.upper().endswith("_PORT") and "://" in value):
            continue
        nearest = get_close_matches(field, known, n=1)
        hint = f"did you mean READALONG_{nearest[0]}?" if nearest else "`readalong settings` shows all."
        lines.append(f"{name} is no setting and does nothing; {hint}")
    return lines
