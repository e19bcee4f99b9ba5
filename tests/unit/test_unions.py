"""Unions of classes, which one pass over JSON cannot tell apart, wherever they stand in a type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from perdure_schemas.converters import check_type_hint, read_json, write_json


@dataclass
class Call:
    name: str
    arguments: list[str] = field(default_factory=list)


@dataclass
class Act:
    call: Call


@dataclass
class Steps:
    steps: list[Statement]


@dataclass
class Both:
    either: tuple[Statement, ...]
    named: Mapping[str, Statement] = field(default_factory=dict)


class Typed(TypedDict):
    one: Act | Steps


class Model(BaseModel):
    size: int


Statement = Act | Steps | Both


@dataclass
class Plan:
    root: Statement
    last: Model | Call | None = None
    kept: Sequence[Act | Steps] = ()


PLAN = Plan(
    Steps([Act(Call("a", ["x"])), Both((Act(Call("b")), Steps([])), {"c": Act(Call("c"))})]),
    Model(size=3),
    [Steps([Act(Call("d"))])],
)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (PLAN, Plan),
        (PLAN.root, Statement),
        ([PLAN.root], list[Statement]),
        ((1, PLAN.root), tuple[int, Statement]),
        ({"a": PLAN.root}, dict[str, Statement]),
        (None, Act | Steps | None),
        (Plan(Act(Call("a")), Call("b"), []), Plan),
        # One pass can tell these apart.
        (Act(Call("a")), Act | str),
    ],
)
def test_values_come_back_as_they_were(value: Any, hint: Any) -> None:
    check_type_hint(hint)

    assert read_json(write_json(value), hint) == value


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `root`"),
        (
            b'{"root": {"steps": [{"call": {"name": 1}}]}}',
            (
                r"root: no member fits: Act: .*; Steps: steps: \[0\]: no member fits: Act: Expected"
                r" `str`, got `int` - at `\$.call.name`; .*"
            ),
        ),
        (b'{"root": {"either": null}}', "Both: either: Expected `array`, got `null`"),
        (b'{"root": {"either": [], "named": []}}', "Both: named: Expected `object`, got `array`"),
        (
            b'{"root": {"call": {"name": "a"}}, "last": {"size": "x"}}',
            "last: no member fits: ",
        ),
    ],
)
def test_what_does_not_fit_says_where_and_why_for_each_member(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_json(data, Plan)


def test_what_cannot_be_read_anyway_is_still_refused() -> None:
    for hint in (Typed, list[Typed], Act | Steps | Typed):
        with pytest.raises(TypeError, match="cannot be read from JSON"):
            check_type_hint(hint)
