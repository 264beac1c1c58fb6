"""`python -m tests.chaos.checker DIR`: prints the report.

Exit code 1 for a violation, 2 for files that no run writes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.chaos.checker import BadHistory, check


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.checker", description="Checks a chaos run.")
    parser.add_argument("directory", type=Path, help="what the run wrote")
    try:
        report = check(parser.parse_args().directory)
    except (BadHistory, OSError) as error:
        print(f"not a run's history: {error}", file=sys.stderr)
        return 2
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
