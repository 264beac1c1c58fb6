"""An answer's Markdown while it is written: whatever way it is cut, the same page; nothing flickers or runs."""

from __future__ import annotations

import random
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser import Visitors, wait_for
from tests.page.reader import answer, ask, wait_answer, wait_status
from tests.page.site import Site

pytestmark = pytest.mark.slow

TEXT = """# Logs

A log is a **list** of *events*, each with a `number`; see [the docs](https://example.com/a_b) or <b>this</b>.
Second line of it.

1. First
2. Second, with **bold
   text**
   - nested `a`
   - nested b

3. Third

| name | count |
| :--- | ---: |
| a | 1 |
| **b** | 2 |

Setext
---

> A quote
> of two lines

```python
def f(x):
    # a comment with ``` inside
    return "a" * x
```

- [ ] open
- [x] done

***

A [reference][1] and ![a picture](https://evil.example/x.png).

~~~
plain
~~~

4. Four

Last *line* with 2*3 and snake_case

[1]: https://example.com/ref
"""

#: The module, beside the one of the page: there is one sanitizer.
MODULE = """import(new URL("markdown.js", document.querySelector("script").src))"""

#: Draws the pieces, and returns the markup after each.
DRAW = (
    f"(pieces) => {MODULE}"
    + """.then(async ({ MarkdownView }) => {
    document.body.querySelector("#turns").replaceChildren();
    const view = new MarkdownView();
    document.body.querySelector("#turns").append(view.element);
    const seen = [];
    for (const piece of pieces) {
      view.append(piece);
      view.draw();
      seen.push(view.element.innerText);
    }
    view.finish();
    for (const each of view.element.querySelectorAll("*")) {
      const sorted = each.getAttributeNames().sort().map((name) => [name, each.getAttribute(name)]);
      for (const [name] of sorted) each.removeAttribute(name);
      for (const [name, value] of sorted) each.setAttribute(name, value);
    }
    return [view.element.innerHTML, seen];
})"""
)


def draw(page: Page, pieces: list[str]) -> tuple[str, list[str]]:
    markup, seen = page.evaluate(DRAW, pieces)
    return markup, seen


def ready(page: Page) -> None:
    """Loads the highlighter, whose colours would come at any time."""
    draw(page, ["```python\nx\n```\n"])
    wait_for(page, "document.querySelector('code.coloured')")


def test_the_page_is_the_same_however_the_text_is_cut(page: Page) -> None:
    """Character by character, by lines, at random, and at once, with each kind of line end."""
    ready(page)
    whole, _ = draw(page, [TEXT])
    rng = random.Random(7)
    for _ in range(5):
        cuts = sorted(rng.sample(range(len(TEXT)), 40))
        pieces = [TEXT[a:b] for a, b in zip([0, *cuts], [*cuts, len(TEXT)], strict=True)]
        assert draw(page, pieces)[0] == whole
    assert draw(page, list(TEXT))[0] == whole
    assert draw(page, TEXT.splitlines(keepends=True))[0] == whole
    assert draw(page, list("\n\n" + TEXT))[0] == whole
    assert draw(page, list(TEXT.replace("\n", "\r\n")))[0] == whole
    for tag in ("<h3 ", "<strong>list</strong>", "<em>events</em>", "<h4 ", "<blockquote ", "<hr>", "<ol>", "<ul>"):
        assert tag in whole
    assert 'align="right"' in whole
    assert 'start="4"' in whole
    assert 'href="https://example.com/ref"' in whole
    assert "&lt;b&gt;this&lt;/b&gt;" in whole
    assert "☐ open" in whole
    assert "☑ done" in whole
    assert "<img" not in whole


def test_no_marker_flashes_while_the_text_is_written(page: Page) -> None:
    """A marker is seen at no time, and a shown word never leaves."""
    text = "Intro **bold words** and *soft* `code` [link](https://example.com/) end.\n\nItems:\n- one\n"
    text += "- two **b**\n\n1. x\n"
    text += "\n| a | b |\n|---|---|\n| 1 | 2 |\n\n## Head\n\n```js\nlet a;\n```\nEnd"
    _, seen = draw(page, list(text))
    for at, shown in enumerate(seen):
        marks = [mark for mark in ("*", "`", "](", "|", "##", "--") if mark in shown]
        assert not marks, f"{marks} after {text[: at + 1]!r}: {shown!r}"
    words = [len(shown.split()) for shown in seen]
    assert words == sorted(words)


def test_finished_blocks_are_not_touched_again(page: Page) -> None:
    """Their nodes stay, so that a selection stays, and nothing is laid out anew."""
    script = (
        f"() => {MODULE}"
        + """.then(async ({ MarkdownView }) => {
        const view = new MarkdownView();
        document.querySelector("#turns").append(view.element);
        view.append("# One\\n\\nTwo **three**\\n\\n- four\\n\\nFive\\n\\n");
        view.draw();
        const nodes = [...view.element.querySelectorAll("*")];
        const before = nodes.map((node) => node.textContent);
        const changed = [];
        const observer = new MutationObserver((all) => changed.push(...all));
        observer.observe(view.element, { childList: true, characterData: true, attributes: true, subtree: true });
        for (let at = 0; at < 50; at += 1) {
          view.append(`Six ${at}\\n\\n`);
          view.draw();
        }
        await new Promise(requestAnimationFrame);
        changed.push(...observer.takeRecords());
        const touched = changed.filter(({ target }) => nodes.includes(target) || nodes.includes(target.parentNode));
        return [touched.length, nodes.every((node, at) => node.isConnected && node.textContent === before[at])];
    })"""
    )
    assert page.evaluate(script) == [0, True]


def test_markup_of_the_model_is_text_and_runs_nothing(page: Page, site: Site) -> None:
    """Whatever is tried, no element but those of Markdown gets into the page, and no address but of the web."""
    tries = [
        "<script>window.ran = 1</script>",
        "<img src=x onerror=window.ran=1>",
        "<svg/onload=window.ran=1>",
        "[a](javascript:window.ran=1) [b](JaVaScRiPt&colon;window.ran=1) [c](data:text/html,x)",
        "[d](vbscript:x) [e](/v1/jobs)",
        "![x](javascript:window.ran=1) ![y](https://evil.example/secret)",
        "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
        "<a href='javascript:window.ran=1'>x</a>",
        '```"><img src=x onerror=window.ran=1>\n</code></pre><script>window.ran=1</script>\n```',
        "[x]: javascript:window.ran=1\n\n[x]",
        "<div style='position:fixed;inset:0'>over</div>",
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.ran=1&gt;'>",
        '<form action="https://evil.example"><input name=q></form>',
        "| a |\n|---|\n| <img src=x onerror=window.ran=1> |",
        '[x](https://example.com/"onmouseover="window.ran=1)',
    ]
    pen = ask(page, site, "<b>bold</b><script>window.ran=1</script>").claim()
    for each in tries:
        pen.say(each + "\n\n")
    pen.end()
    wait_status(page, "Done")
    assert page.locator(".question").text_content() == "<b>bold</b><script>window.ran=1</script>"
    found = page.evaluate("[...new Set([...document.querySelectorAll('.md *')].map((each) => each.localName))]")
    allowed = (
        "a blockquote br button code del div em h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul"
    )
    assert set(found) <= set(allowed.split())
    attributes = """[...new Set([...document.querySelectorAll('.md *')].flatMap((each) => each.getAttributeNames()))]"""
    assert not [name for name in page.evaluate(attributes) if name.startswith("on") or name in ("style", "src", "id")]
    links = page.evaluate("[...document.querySelectorAll('.md a[href]')].map((each) => each.getAttribute('href'))")
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "<script>window.ran = 1</script>" in answer(page)
    page.mouse.move(500, 300)
    assert page.evaluate("window.ran ?? null") is None


def test_only_the_sanitizer_makes_markup_of_a_string(page: Page, visitors: Visitors) -> None:
    """A script of ours that would do so by mistake fails."""
    script = """text => {
        try { document.body.insertAdjacentHTML("beforeend", text); } catch (error) { return error.name; }
    }"""
    try_it: Any = page.evaluate(script, "<b>x</b>")
    assert try_it == "TypeError"
    assert "TrustedHTML" in visitors.complaints.pop()


@pytest.mark.parametrize(
    "text",
    [
        "w" * 100_000,
        "word " * 20_000,
        "*a " * 30_000,
        "[" * 50_000,
        ">" * 20_000 + " deep",
        "- " * 10_000,
        "a`" * 40_000,
        "| a " * 20_000 + "\n" + "|---" * 20_000,
        "```python\n" + "x = [1, 2]\n" * 10_000,
        "a\n" * 40_000,
    ],
    ids=["line", "words", "stars", "brackets", "quotes", "lists", "ticks", "table", "code", "lines"],
)
def test_a_hundred_thousand_characters_do_not_stop_the_page(text: str, page: Page, site: Site) -> None:
    """They are shown, and the page answers a click at once."""
    pen = ask(page, site).claim()
    for at in range(0, len(text), 5000):
        pen.say(text[at : at + 5000])
    wait_status(page, "Streaming")
    page.click("#stop")
    expect(page.locator("#stop")).to_have_text("Stopping…")
    pen.end("cancelled", by="client")
    wait_status(page, "Stopped")
    shown = "".join(answer(page).split())
    assert len(shown) >= len("".join(text.split())) * 0.2
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def test_text_of_all_scripts_is_whole_and_runs_its_way(page: Page, site: Site) -> None:
    """An emoji of several characters, cut anywhere; Hebrew and Arabic from the right; odd line ends."""
    text = "Family \U0001f469\u200d\U0001f467 flag \U0001f1eb\U0001f1f7 e\u0301 \u2028 end"
    pen = ask(page, site, "\u05e9\u05dc\u05d5\u05dd").claim()
    for letter in text:
        pen.say(letter)
    pen.say("\n\n\u05e9\u05dc\u05d5\u05dd **\u05e2\u05d5\u05dc\u05dd**\n\n- \u0645\u0631\u062d\u0628\u0627")
    pen.end()
    wait_status(page, "Done")
    assert page.locator(".block").first.text_content() == text
    direction = "each => getComputedStyle(each).direction"
    assert page.locator(".question").evaluate(direction) == "rtl"
    assert [page.locator(".block p, .block li").nth(at).evaluate(direction) for at in range(3)] == ["ltr", "rtl", "rtl"]


def test_code_has_colours_and_a_button_that_copies_it(page: Page, site: Site) -> None:
    """Exactly the code, without its fences; LaTeX stays as it is written."""
    pen = ask(page, site).claim()
    pen.say("Look: $x^2$\n\n```python\ndef f():\n    return 1\n")
    expect(page.locator(".code code.coloured .hljs-keyword").first).to_have_text("def")
    pen.say("```\n")
    pen.end()
    wait_status(page, "Done")
    page.evaluate("""() => Object.defineProperty(navigator, "clipboard", {
        value: { writeText: async (text) => { window.copied = text; } } })""")
    page.click(".copy-code")
    expect(page.locator(".copy-code")).to_have_text("Copied")
    assert page.evaluate("window.copied") == "def f():\n    return 1"
    page.click(".copy-answer")
    expect(page.locator(".copy-answer")).to_have_text("Copied")
    assert page.evaluate("window.copied") == "Look: $x^2$\n\n```python\ndef f():\n    return 1\n```\n"
    assert "$x^2$" in answer(page)


def test_a_page_without_the_highlighter_shows_the_code(page: Page, site: Site) -> None:
    """The server may restart just when it is to be loaded."""
    page.route("**/highlight.min.js", lambda route: route.abort())
    pen = ask(page, site).claim()
    pen.say("```js\nlet a;\n```\n\nAfter")
    expect(page.locator(".code code")).to_have_text("let a;")
    pen.end()
    wait_status(page, "Done")
    wait_answer(page, "jsCopylet a;After")
