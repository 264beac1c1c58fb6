"""What the body of a face says in an object of our own: options of the job, and of its turn in a thread."""

from __future__ import annotations

from typing import Any, Final, get_args

from readalong.core.errors import InvalidRequest
from readalong.core.options import OPTION_FIELDS
from readalong.store.threads import ThreadPolicy

_POLICIES: Final[dict[str, ThreadPolicy]] = {policy: policy for policy in get_args(ThreadPolicy)}
_KNOWN: Final = OPTION_FIELDS | {"thread_policy"}


def own_options(given: Any, field: str) -> tuple[dict[str, Any], ThreadPolicy]:
    """Returns the job's options, and the policy of its thread.

    A turn that begins while another runs takes its place by default: the clients of these faces stop by closing their
    connection. `field`: the object's name. Raises InvalidRequest.
    """
    if not isinstance(given, dict | None):
        raise _wrong(field, "Must be an object")
    options = dict(given or {})
    for name in options:
        if name not in _KNOWN:
            raise _wrong(f"{field}.{name}", f"Unknown option; there are {', '.join(sorted(_KNOWN))}", "unknown")
    policy = options.pop("thread_policy", None)
    if policy is None:
        return options, "interrupt"
    if not isinstance(policy, str) or policy not in _POLICIES:
        raise _wrong(f"{field}.thread_policy", f"Must be {', '.join(_POLICIES)}")
    return options, _POLICIES[policy]


def _wrong(field: str, why: str, mistake: str = "value") -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}.", field=field, mistake=mistake)
