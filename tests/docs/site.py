"""The documentation as a site: `python -m tests.docs.site` writes `site/`, by the tool of `.venv-docs`.

The project has no public address. So on the site a link to a file outside `docs/` is its text alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.docs import configuration, pictures

ROOT: Final = Path(__file__).parents[2]
TOOL: Final = ROOT / ".venv-docs" / "bin" / "zensical"
#: What the search needs on a page from the disk; the tool's pages load it from another site.
_SHIM: Final = Path(__file__).parent / "vendor" / "iframe-worker.js"
_SHIM_ADDRESS: Final = "https://unpkg.com/iframe-worker/shim"
_LINK: Final = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def build(target: Path) -> None:
    """Builds the site into the folder, which it replaces. Raises SystemExit with the tool's words if it complains."""
    with tempfile.TemporaryDirectory(prefix="readalong-docs-") as name:
        folder = Path(name)
        shutil.copytree(ROOT / "docs", folder / "docs")
        shutil.copy(ROOT / "mkdocs.yml", folder)
        for page in (folder / "docs").rglob("*.md"):
            page.write_text(_without_links_to_code(page, folder / "docs"), "utf-8")
        words = [str(TOOL), "build", "--strict", "--config-file", str(folder / "mkdocs.yml")]
        ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(ran.stdout + ran.stderr)
        shutil.copy(_SHIM, folder / "site" / "assets")
        for page in (folder / "site").rglob("*.html"):
            up = "../" * (len(page.relative_to(folder / "site").parts) - 1)
            html = page.read_text("utf-8").replace(_SHIM_ADDRESS, f"{up}assets/{_SHIM.name}")
            page.write_text(html, "utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "site", target)


def _without_links_to_code(page: Path, docs: Path) -> str:
    def shown(found: re.Match[str]) -> str:
        path = found[2]
        inside = re.match(r"[a-z]+:", path) or (page.parent / path).resolve().is_relative_to(docs.resolve())
        return found[0] if inside else found[1]

    return _LINK.sub(shown, page.read_text("utf-8"))


if __name__ == "__main__":
    configuration.PAGE.write_text(configuration.configuration_page(), "utf-8")
    for each in pictures.PICTURES:
        (pictures.FOLDER / f"{each}.svg").write_text(pictures.picture(each), "utf-8")
    build(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "site")
