"""Tools of the Responses API to those of chat completions (pure)."""

from __future__ import annotations

from typing import Any, Final

from readalong.api.submission import openai_mistakes as check

_TYPES: Final = ("function", "custom")
_CHOICES: Final = ("none", "auto", "required")
#: Fields of a tool that chat completions have too, by its type.
_FIELDS: Final = {
    "function": ("name", "description", "parameters", "strict"),
    "custom": ("name", "description", "format"),
}


def read_tools(given: Any) -> list[dict[str, Any]]:
    """Returns the tools. Raises InvalidRequest for a hosted tool: no such tool runs here."""
    tools = []
    for number, tool in enumerate(check.objects(given, "tools")):
        param = f"tools[{number}]"
        kind = check.needed(tool, "type", f"{param}.type")
        if kind not in _TYPES:
            raise check.wrong_value(f"{param}.type", kind, _TYPES)
        if "name" not in tool and kind in tool:
            # The form of chat completions.
            raise check.missing(f"{param}.name")
        check.needed(tool, "name", f"{param}.name")
        check.text(tool, "description", f"{param}.description")
        check.mapping(tool, "parameters", f"{param}.parameters")
        for name, value in tool.items():
            if name != "type" and name not in _FIELDS[kind] and value not in (None, False):
                raise check.unsupported(f"{param}.{name}", "is not supported: the model speaks chat completions")
        fields = {name: tool[name] for name in _FIELDS[kind] if tool.get(name) is not None}
        if kind == "custom" and "format" in fields:
            fields["format"] = _format(check.mapping(tool, "format", f"{param}.format"))
        tools.append({"type": kind, kind: fields})
    return tools


def read_tool_choice(given: Any) -> Any:
    """Returns the choice; None if there is none."""
    if given is None:
        return None
    if isinstance(given, str):
        if given not in _CHOICES:
            raise check.wrong_value("tool_choice", given, _CHOICES)
        return given
    if not isinstance(given, dict):
        raise check.wrong_type("tool_choice", "one of an object or a string", given)
    kind = check.needed(given, "type", "tool_choice.type")
    if kind == "allowed_tools":
        mode = check.choice(given, "mode", "tool_choice.mode", ("auto", "required")) or "auto"
        allowed = [
            _named(tool, f"tool_choice.tools[{number}]")
            for number, tool in enumerate(check.objects(given.get("tools"), "tool_choice.tools"))
        ]
        return {"type": kind, "allowed_tools": {"mode": mode, "tools": allowed}}
    return _named(given, "tool_choice")


def _named(tool: dict[str, Any], param: str) -> dict[str, Any]:
    kind = check.needed(tool, "type", f"{param}.type")
    if kind not in _TYPES:
        raise check.wrong_value(f"{param}.type", kind, (*_TYPES, "allowed_tools") if param == "tool_choice" else _TYPES)
    return {"type": kind, kind: {"name": check.needed(tool, "name", f"{param}.name")}}


def _format(given: dict[str, Any]) -> dict[str, Any]:
    """Returns the format for chat completions, where a grammar stands in an object of its own."""
    if given.get("type") != "grammar":
        return given
    return {"type": "grammar", "grammar": {name: value for name, value in given.items() if name != "type"}}
