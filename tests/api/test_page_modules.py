"""The page's modules are joined as they are written, or not at all."""

from __future__ import annotations

import pytest

from readalong.api.page_modules import join_modules


def join(**files: str) -> str:
    """Joins `main.js`. A name stands for the file of this name in the folder `at`, but for `far.js`."""
    sources = {f"at/{name}.js": text for name, text in files.items()}
    return join_modules("at/main.js", sources.__getitem__, lambda path: path == "far.js")


def test_each_form_of_import_and_export_is_understood() -> None:
    """A module comes once, after those that it imports. A file apart comes first, a lazy one when it is needed."""
    text = join(
        main='import { one as first, Two } from "./part.js";\nimport "../far.js";\n'
        'import("./late.js");\nuse(first, Two);',
        part='import { one } from "./deep.js";\nimport { far } from "../far.js";\n'
        'export { three as four } from "./deep.js";\nexport { one };\n'
        "export class Two {}\nexport async function* six() {}",
        deep="export const one = 1;\nconst three = 3;\nexport {\n  three,\n};",
    )
    lines = [line for line in text.splitlines() if line]
    assert lines[0] == 'import * as file_0 from "../far.js";'
    assert lines[1:] == [
        "const module_0 = (() => { // at/deep.js",
        "const one = 1;",
        "const three = 3;",
        "return { three, one };",
        "})();",
        "const module_1 = (() => { // at/part.js",
        "const { one } = module_0;",
        "const { far } = file_0;",
        "class Two {}",
        "async function* six() {}",
        "return { four: module_0.three, one, Two, six };",
        "})();",
        "const module_2 = (() => { // at/main.js",
        "const { one: first, Two } = module_1;",
        'import("./late.js");',
        "use(first, Two);",
        "return {  };",
        "})();",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "export default 1;",
        "export let changes = 1;",
        'export * from "./part.js";',
        'import part from "./part.js";',
        'import * as part from "./part.js";',
        "import { one } from './part.js';",
        'import { one } from "part";',
        "  export const one = 1;",
    ],
)
def test_any_other_form_is_refused(line: str) -> None:
    """It would be a page that breaks in the browser."""
    with pytest.raises(ValueError, match=r"at/main\.js has a form"):
        join(main=line, part="")


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at/part\.js imports itself"):
        join(main='import "./part.js";', part='import "./deep.js";', deep='import "./part.js";')
