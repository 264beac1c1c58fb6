"""The page with `useChat` (`node/page.jsx`): its bundles, the site that serves them, and what a person does there."""

from __future__ import annotations

import json
import subprocess
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final, Self
from urllib.parse import quote
from uuid import uuid4

from playwright.sync_api import expect

from tests.clients.node_chat import FOLDER
from tests.page.browser import Visitors, wait_for

_ANSWER: Final = "(document.querySelector('p:last-of-type.assistant')?.textContent ?? '')"
_ENDED: Final = "document.querySelector('p:last-of-type.assistant[data-ended=true]')"
#: What the page's imports mean in each version of the AI SDK.
_PACKAGES: Final[dict[int, dict[str, str]]] = {6: {"ai": "ai6", "@ai-sdk/react": "ai6-react"}, 7: {}}
_HTML: Final = """<!doctype html>
<meta charset="utf-8"><link rel="icon" href="data:,"><title>useChat</title>
<div id="page"></div><script type="module" src="page-{}.js"></script>
"""


class ReactSite:
    """Serves the page, once for each version. Its origin is not the API's. A context manager."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="readalong-react-")
        for version, packages in _PACKAGES.items():
            _bundle(version, packages, Path(self._folder.name))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=self._folder.name))
        self._thread = Thread(target=self._server.serve_forever, name="react-site")

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def address(self, version: int) -> str:
        return f"{self.origin}/{version}.html"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._folder.cleanup()


class ReactPage:
    """A chat of its own in a browser."""

    def __init__(self, visitors: Visitors, address: str, api: str, transport: str, body: dict[str, Any]) -> None:
        chat = f"chat {uuid4().hex}"
        options = {"api": f"{api}/api/chat", "id": chat, "transport": transport, "body": body}
        self.tab = visitors.open(f"{address}#{quote(json.dumps(options))}")
        self.is_in("ready")

    def ask(self, question: str) -> None:
        self.tab.fill("[name=question]", question)
        self.tab.press("[name=question]", "Enter")

    def is_in(self, status: str) -> None:
        """Returns when the chat has this status."""
        expect(self.tab.locator("#status")).to_contain_text(status)

    def says(self, length: int = 1) -> str:
        """Returns the newest answer's text once it is so long."""
        return str(wait_for(self.tab, f"least => (text => text.length >= least && text)({_ANSWER})", length))

    def ends(self) -> str:
        """Returns the newest answer's text when it has come to its end and the chat is ready."""
        wait_for(self.tab, f"!!{_ENDED}")
        self.is_in("ready")
        return self.answer()

    def rests(self) -> None:
        """Returns when the page reads no response."""
        wait_for(self.tab, "['ready', 'error'].includes(document.querySelector('#status').textContent)")

    def answer(self) -> str:
        """Returns the text of the newest message if it is the assistant's, or else ''."""
        return str(self.tab.evaluate(_ANSWER))

    def messages(self) -> list[str]:
        """Returns the roles of all messages."""
        found: list[str] = self.tab.evaluate("[...document.querySelectorAll('p')].map((each) => each.className)")
        return found

    def job(self) -> str:
        """Returns the job of the newest message."""
        return str(self.tab.evaluate("document.querySelector('p:last-of-type').id")).removeprefix("msg_")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Writes nothing."""


def _bundle(version: int, packages: dict[str, str], folder: Path) -> None:
    words = ["node_modules/.bin/esbuild", "page.jsx", "--bundle", "--format=esm", "--target=es2022", "--jsx=automatic"]
    defined = [f"--define:VERSION={version}", '--define:process.env.NODE_ENV="production"']
    aliases = [f"--alias:{name}={package}" for name, package in packages.items()]
    outfile = f"--outfile={folder / f'page-{version}.js'}"
    command = [*words, *defined, *aliases, outfile, "--log-level=warning"]
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"esbuild failed:\n{ran.stderr}"
    (folder / f"{version}.html").write_text(_HTML.format(version))
