"""Signatures as the kept list writes them, and how two are compared: names, kinds, defaults."""

from __future__ import annotations

import enum
import inspect
import re
import typing
from dataclasses import dataclass
from typing import Any

CUT_AT = 1500
"""The list cuts signatures at so many characters; what is cut cannot be compared whole."""
POSITIONAL, KEYWORD, MANY, MANY_KEYWORDS = "positional", "keyword", "*", "**"
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: POSITIONAL,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: POSITIONAL,
    inspect.Parameter.KEYWORD_ONLY: KEYWORD,
    inspect.Parameter.VAR_POSITIONAL: MANY,
    inspect.Parameter.VAR_KEYWORD: MANY_KEYWORDS,
}
_OPEN, _CLOSE = "([{<", ")]}>"


@dataclass(frozen=True)
class Parameter:
    """A parameter, whatever its type says."""

    name: str
    kind: str
    default: str
    """Empty where there is none."""


def parse(signature: str) -> list[Parameter]:
    """The parameters of a signature as text."""
    body = signature[1:] if len(signature) >= CUT_AT else _inside(signature)
    parameters, kind = [], POSITIONAL
    for part in _split(body):
        if part == "*":
            kind = KEYWORD
        elif part == "/":
            continue
        else:
            name, default = _name_and_default(part)
            here = MANY_KEYWORDS if name[:2] == "**" else MANY if name[:1] == "*" else kind
            parameters.append(Parameter(name.lstrip("*"), here, normal(default)))
            kind = KEYWORD if here == MANY else kind
    if len(signature) >= CUT_AT and parameters:
        parameters.pop()  # the one that was cut
    return parameters


def _inside(signature: str) -> str:
    depth = 0
    for index, char in enumerate(signature):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return signature[1:index]
    return signature[1:]


def _split(body: str) -> list[str]:
    parts, depth, quote, part = [], 0, "", ""
    for index, char in enumerate(body):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in _OPEN:
            depth += 1
        elif char in _CLOSE and not (char == ">" and body[index - 1] == "-"):
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(part.strip())
            part = ""
            continue
        part += char
    return [one for one in [*parts, part.strip()] if one]


def _name_and_default(part: str) -> tuple[str, str]:
    name = re.match(r"\**\w+", part)
    assert name is not None, part
    rest = part[name.end() :]
    depth, quote = 0, ""
    for index, char in enumerate(rest):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
        elif char == "=" and depth == 0:
            return name.group(), rest[index + 1 :].strip()
    return name.group(), ""


def normal(default: str) -> str:
    """A default so that what means the same is the same."""
    text = re.sub(r"<([\w.]+): [^>]*>", r"\1", default)  # enum members
    text = re.sub(r"<(?:class|function|factory)? ?'?([\w.]*)[^>]*>", r"\1", text)
    text = re.sub(r"\b(?:\w+\.)+(\w+\.)?(\w+)", lambda m: (m[1] or "") + m[2], text)
    text = re.sub(r"^([A-Z]\w+)\(.*\)$", r"\1(...)", text, flags=re.DOTALL)
    if text in ("[]", "()", "{}", "frozenset()", "mappingproxy({})"):
        return "empty"
    return re.sub(r"\b\w+\.(?=[A-Z_]+$)", "", text)


def of(thing: Any) -> list[Parameter]:
    """The parameters of one of ours."""
    found = []
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD and (options := _options(thing, parameter)):
            found += [Parameter(name, KEYWORD, "factory") for name in options]
            continue
        default = parameter.default
        text = "" if default is parameter.empty else normal(_text(default))
        found.append(Parameter(parameter.name, _KINDS[parameter.kind], text))
    return found


def _options(thing: Any, parameter: inspect.Parameter) -> list[str]:
    """The keyword arguments of an unpacked TypedDict."""
    call = vars(thing)["__init__"] if isinstance(thing, type) else thing
    hint = typing.get_type_hints(call).get(parameter.name)
    if typing.get_origin(hint) is not typing.Unpack:
        return []
    return list(typing.get_args(hint)[0].__annotations__)


def _text(default: Any) -> str:
    if isinstance(default, enum.Enum):
        return f"{type(default).__name__}.{default.name}"
    if default is ...:
        return "Ellipsis"
    return repr(default)


def differences(theirs: str, ours: Any) -> list[str]:
    """What is different, in words."""
    is_cut = len(theirs) >= CUT_AT
    wanted = {parameter.name: parameter for parameter in parse(theirs)}
    have = {parameter.name: parameter for parameter in of(ours)}
    found = [f"no `{name}`" for name in wanted if name not in have]
    for name, parameter in have.items():
        other = wanted.get(name)
        if other is None:
            if not is_cut:
                found.append(f"also `{name}`")
        elif parameter.kind != other.kind:
            found.append(f"`{name}` is {parameter.kind}, not {other.kind}")
        elif not _same(parameter.default, other.default):
            found.append(
                f"`{name}` is {parameter.default or 'required'}, not {other.default or 'required'}"
            )
    return found


def _same(ours: str, theirs: str) -> bool:
    if ours == theirs:
        return True
    # A sentinel for "not given", and a value that a factory makes, have no text of their own.
    unknown = ("object", "factory", "_Unset", "UNSET", "Ellipsis", "HasDefault")
    return bool(ours) and bool(theirs) and any(word in ours + theirs for word in unknown)
