"""The pictures of the docs, drawn anew: `make screenshots`. Each module `screenshots_*.py` beside draws some."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.page.browser import chromium

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"


def main() -> None:
    with chromium() as browser:
        for path in sorted(HERE.glob("screenshots_*.py")):
            import_module(f"tests.page.{path.stem}").main(browser, DOCS)


if __name__ == "__main__":
    main()
