"""Joins a page's modules into one, so that a slow network needs one trip for all of them instead of one a level.

It reads the forms of `import` and `export` that the page uses, and refuses any other. The modules stay as they are
written: each becomes a function that returns its exports. So none may wait at its top level (`await`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Final

_NAMES: Final = r"(\{[^{}]*\})"
_IMPORT: Final = re.compile(rf'^import (?:{_NAMES} from )?"(\.[^"]+)";$', re.MULTILINE)
_EXPORT_FROM: Final = re.compile(rf'^export {_NAMES} from "(\.[^"]+)";$', re.MULTILINE)
_EXPORT_NAMES: Final = re.compile(rf"^export {_NAMES};$", re.MULTILINE)
_EXPORT: Final = re.compile(r"^export ((?:const|class|(?:async )?function\*?) ([\w$]+))", re.MULTILINE)
_OTHER: Final = re.compile(r"^\s*(?:import\b(?! ?[(.])|export\b).*", re.MULTILINE)
_LAZY: Final = re.compile(r'\bimport\("(\.[^"]+)"\)')


def join_modules(entry: str, read: Callable[[str], str], is_apart: Callable[[str], bool]) -> str:
    """Returns a module that does what `entry` does, in the same folder.

    `read` returns the source of a path. Modules for which `is_apart` is true stay files of their own, as do those that
    are imported lazily.
    """
    return _Joined(entry, read, is_apart).text


class _Joined:
    def __init__(self, entry: str, read: Callable[[str], str], is_apart: Callable[[str], bool]) -> None:
        self._folder = posixpath.dirname(entry)
        self._read = read
        self._is_apart = is_apart
        self._names: dict[str, str] = {}
        self._imports: list[str] = []
        self._functions: list[str] = []
        self._add(entry)

    @property
    def text(self) -> str:
        return "\n".join((*self._imports, *self._functions))

    def _add(self, path: str) -> str:
        """Adds a module after those that it imports. Returns the name of its exports."""
        if (name := self._names.get(path)) is not None:
            if not name:
                raise ValueError(f"{path} imports itself, by way of others")
            return name
        self._names[path] = ""
        if self._is_apart(path):
            name = f"file_{len(self._imports)}"
            self._imports.append(f'import * as {name} from "{self._address(path)}";')
        else:
            function = self._function(path)
            name = f"module_{len(self._functions)}"
            self._functions.append(f"const {name} = {function};")
        self._names[path] = name
        return name

    def _function(self, path: str) -> str:
        exports: dict[str, str] = {}

        def of(address: str) -> str:
            return posixpath.normpath(posixpath.join(posixpath.dirname(path), address))

        def replace_import(found: re.Match[str]) -> str:
            names, name = found[1], self._add(of(found[2]))
            return f"const {names.replace(' as ', ': ')} = {name};" if names else ""

        def replace_export_from(found: re.Match[str]) -> str:
            name = self._add(of(found[2]))
            exports.update({outer: f"{name}.{inner}" for inner, outer in _pairs(found[1])})
            return ""

        def replace_names(found: re.Match[str]) -> str:
            exports.update({outer: inner for inner, outer in _pairs(found[1])})
            return ""

        def replace_export(found: re.Match[str]) -> str:
            exports[found[2]] = found[2]
            return found[1]

        text = _IMPORT.sub(replace_import, self._read(path))
        text = _EXPORT_FROM.sub(replace_export_from, text)
        text = _EXPORT_NAMES.sub(replace_names, text)
        text = _EXPORT.sub(replace_export, text)
        if other := _OTHER.search(text):
            raise ValueError(f"{path} has a form of import or export that is not known: {other[0].strip()}")
        text = _LAZY.sub(lambda found: f'import("{self._address(of(found[1]))}")', text)
        returned = ", ".join(outer if outer == inner else f"{outer}: {inner}" for outer, inner in exports.items())
        return f"(() => {{ // {path}\n{text}\nreturn {{ {returned} }};\n}})()"

    def _address(self, path: str) -> str:
        address = posixpath.relpath(path, self._folder or ".")
        return address if address.startswith(".") else f"./{address}"


def _pairs(names: str) -> list[tuple[str, str]]:
    """Returns the names inside the module and outside of it."""
    pairs = [each.strip().partition(" as ") for each in names.strip("{}").split(",") if each.strip()]
    return [(inner, outer or inner) for inner, _, outer in pairs]
