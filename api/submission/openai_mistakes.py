"""A client's mistakes in the words and codes of OpenAI (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeVar

from readalong.core.errors import InvalidRequest

_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a decimal"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)
_Number = TypeVar("_Number", int, float)
#: Characters of a client's value that a message shows.
_SHOWN: Final = 100


def missing(param: str) -> InvalidRequest:
    return _mistake(f"Missing required parameter: '{param}'.", "missing_required_parameter", param)


def unknown(param: str) -> InvalidRequest:
    return _mistake(f"Unknown parameter: '{param[:_SHOWN]}'.", "unknown_parameter", param)


def unsupported(param: str, why: str = "") -> InvalidRequest:
    message = f"Unsupported parameter: '{param[:_SHOWN]}'{why and ' '}{why}."
    return _mistake(message, "unsupported_parameter", param)


def moved(param: str, to: str) -> InvalidRequest:
    """Returns the error of a parameter of chat completions that has another name here."""
    message = (
        f"Unsupported parameter: '{param}'. In the Responses API, this parameter has moved to '{to}'. "
        "Try again with the new parameter."
    )
    return _mistake(message, "unsupported_parameter", param)


def wrong_type(param: str, wanted: str, value: Any) -> InvalidRequest:
    given = next((name for kind, name in _NAMES if isinstance(value, kind)), "null")
    return _mistake(f"Invalid type for '{param}': expected {wanted}, but got {given} instead.", "invalid_type", param)


def wrong_value(param: str, value: Any, supported: Iterable[str]) -> InvalidRequest:
    *most, last = (f"'{name}'" for name in supported)
    shown = f"{', '.join(most)}{',' if len(most) > 1 else ''} and {last}" if most else last
    message = f"Invalid value: '{str(value)[:_SHOWN]}'. Supported values are: {shown}."
    return _mistake(message, "invalid_value", param)


def out_of_range(param: str, value: float, *, least: float | None = None, most: float | None = None) -> InvalidRequest:
    kind = "integer" if isinstance(value, int) else "decimal"
    side, sign, bound = ("below min", ">=", least) if most is None else ("above max", "<=", most)
    message = f"Invalid '{param}': {kind} {side}imum value. Expected a value {sign} {bound}, but got {value} instead."
    return _mistake(message, f"{kind}_{side.replace(' ', '_')}_value", param)


def exclusive(param: str, other: str) -> InvalidRequest:
    message = f"Mutually exclusive parameters: '{param}'. Ensure you are only providing one of: '{other}' or '{param}'."
    return _mistake(message, "mutually_exclusive_parameters", param)


def mistake(message: str, code: str, param: str | None = None) -> InvalidRequest:
    """Any other one."""
    return _mistake(message, code, param)


def _mistake(message: str, code: str, param: str | None) -> InvalidRequest:
    return InvalidRequest(message, code=code, field=param)


def text(fields: dict[str, Any], name: str, param: str) -> str | None:
    """Returns a string that may be absent. Raises InvalidRequest, as the next ones."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong_type(param, "a string", value)
    return value


def needed(fields: dict[str, Any], name: str, param: str) -> str:
    value = text(fields, name, param)
    if value is None:
        raise missing(param)
    return value


def flag(fields: dict[str, Any], name: str, param: str, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)
    return value


def integer(fields: dict[str, Any], name: str, param: str, least: int, most: int | None = None) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(param, "an integer", value)
    return _within(param, value, least, most)


def decimal(fields: dict[str, Any], name: str, param: str, least: float, most: float) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(param, "a decimal", value)
    return _within(param, value, least, most)


def choice(fields: dict[str, Any], name: str, param: str, supported: Iterable[str]) -> str | None:
    value = text(fields, name, param)
    if value is not None and value not in supported:
        raise wrong_value(param, value, supported)
    return value


def mapping(fields: dict[str, Any], name: str, param: str) -> dict[str, Any]:
    """Returns an object; an empty one if it is absent."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    return value


def objects(value: Any, param: str) -> list[dict[str, Any]]:
    """Returns a list of objects; an empty one if it is absent."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(param, "an array of objects", value)
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise wrong_type(f"{param}[{number}]", "an object", item)
    return value


def _within(param: str, value: _Number, least: float, most: float | None) -> _Number:
    if value < least:
        raise out_of_range(param, value, least=least)
    if most is not None and value > most:
        raise out_of_range(param, value, most=most)
    return value
