"""`Prefer: wait=<seconds>` (RFC 7240): the client would rather wait for the result."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers

#: Seconds that a response waits at most: proxies often close what is silent for a minute.
LONGEST_WAIT: Final = 50


def wait_of(headers: Headers) -> int | None:
    """Returns the seconds that a client prefers to wait, as far as they are honoured; None if it does not say.

    A preference that is malformed is none, as RFC 7240 has it; of two the first counts.
    """
    for header in headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            seconds = value.strip().strip('"')
            if name.strip().lower() == "wait" and seconds.isascii() and seconds.isdigit():
                return min(int(seconds[:9]), LONGEST_WAIT)
    return None


def applied(seconds: int) -> dict[str, str]:
    """Returns the headers of a response that has waited."""
    return {"preference-applied": f"wait={seconds}", "vary": "Prefer"}
