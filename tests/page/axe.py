"""axe-core, the accessibility checker of Deque: what it finds on a page."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.clients.node_chat import FOLDER

_RUN = """async (only) => (await axe.run(document, { resultTypes: ["violations"], ...only })).violations.flatMap(
    ({ id, help, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${help}: ${html}: ${failureSummary}`))"""


def violations(page: Page, rules: list[str] | None = None) -> list[str]:
    """Returns the violations on the page as it is, of all rules or of these.

    The fixture `node_packages` has installed axe.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate((FOLDER / "node_modules/axe-core/axe.min.js").read_text("utf-8"))
    found: list[str] = page.evaluate(_RUN, {"runOnly": rules} if rules else {})
    return found
