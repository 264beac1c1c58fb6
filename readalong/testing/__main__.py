"""`python -m readalong.testing [--host HOST] [--port PORT] [--journal FILE]`: the demo model alone."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal. Returns the exit code: 1 if the address or the journal cannot be opened."""
    # SIGUSR1 asks an API for a report and may be sent to all processes, also during the imports below.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    from readalong.testing.journal import Journal  # noqa: PLC0415
    from readalong.testing.server import serve  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="python -m readalong.testing", description="An OpenAI-compatible demo model.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, the default")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="append each request and each end of a stream")
    given = parser.parse_args(arguments)
    with ExitStack() as opened:
        journal = None
        try:
            if given.journal is not None:
                journal = opened.enter_context(Journal(given.journal))
        except OSError as error:
            print(f"demo model: cannot write {given.journal}: {error.strerror}", file=sys.stderr)
            return 1
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(serve(given.host, given.port, _announce, journal=journal))
        except (OSError, OverflowError) as error:
            print(f"demo model: cannot listen on {given.host}:{given.port}: {error}", file=sys.stderr)
            return 1
    return 0


def _announce(url: str) -> None:
    print(f"demo model on {url}", flush=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
