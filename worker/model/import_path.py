"""Imports the user's functions, which settings name as `package.module:function`."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import PurePath
from typing import Any, Final

from readalong.core.errors import BadSettings

_EXAMPLE: Final = "package.module:function"


def import_function(setting: str, path: str, *arguments: str) -> Callable[..., Any]:
    """Returns the function that a setting names. Raises BadSettings if it does not take these positional arguments.

    The message omits the text of exceptions, which might hold a secret.
    """
    module_name, colon, names = path.partition(":")
    if not (module_name and colon and names):
        raise BadSettings(f"{setting}: {path!r} is not a {_EXAMPLE}")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        raise BadSettings(f"{setting}: {path}: no module {error.name!r} on the Python path (PYTHONPATH)") from None
    except Exception as error:
        raise BadSettings(f"{setting}: {path}: importing it raised {error_location(error)}") from None
    for name in names.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise BadSettings(f"{setting}: {path}: {module_name} has no {names!r}") from None
    if not callable(found):
        raise BadSettings(f"{setting}: {path} is not a function")
    function: Callable[..., Any] = found
    takes = f"({', '.join(arguments)})"
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        raise BadSettings(f"{setting}: {path} cannot be called as {names}{takes}") from None
    except ValueError:
        pass  # a function in C has no signature
    return function


def error_location(error: BaseException) -> str:
    """Returns the exception's type and the line that raised it, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
