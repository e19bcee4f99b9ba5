"""Values that JSON has no type for are written, and read, as Temporal's converter does."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from perdure import converter as public
from perdure_schemas.converters import DefaultPayloadConverter, check_type_hint
from perdure_schemas.payloads import Payload

CONVERTERS = [DefaultPayloadConverter(), public.DataConverter.default.payload_converter]


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not its content"


class Whole(int):
    pass


class Real(float):
    pass


class Items(list[int]):
    pass


class Fields(dict[str, int]):
    pass


class Point(typing.NamedTuple):
    x: int
    y: float = 0.5


class Countable:
    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])


class Model:
    """As pydantic's first version has them."""

    def __init__(self, a: int) -> None:
        self.a = a

    def dict(self) -> dict[str, int]:
        return {"a": self.a}

    @classmethod
    def parse_obj(cls, found: Any) -> Model:
        return cls(found["a"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.a == self.a

    __hash__ = None  # type: ignore[assignment]


@dataclasses.dataclass
class Many:
    text: Text
    number: Whole
    real: Real
    flags: dict[bool, int]
    queue: collections.deque[Text]
    ordered: collections.OrderedDict[str, Real]
    lists: collections.defaultdict[str, list[int]]
    maybe: Text | Whole | None = None
    far: float = math.inf


MANY = Many(
    Text("s"),
    Whole(1),
    Real(2.5),
    {True: 1, False: 2},
    collections.deque([Text("q")]),
    collections.OrderedDict(a=Real(1)),
    collections.defaultdict(list, a=[1]),
    Whole(3),
)

SAME: list[tuple[Any, Any]] = [
    (Text("x"), Text),
    ([Text("a")], list[Text]),
    ({Text("a"): Text("b")}, dict[Text, Text]),
    (Whole(5), Whole),
    ({Whole(5): 1}, dict[Whole, int]),
    (Real(1.5), Real),
    ({Real(1.5): 1}, dict[Real, int]),
    ({True: 1, False: 2}, dict[bool, int]),
    ({None: 1}, dict[None, int]),
    ({"a": {True: 1}}, dict[str, dict[bool, int]]),
    (math.inf, float),
    (-math.inf, float),
    (math.nan, None),
    ([math.nan, 1.0], list[float]),
    ({"a": math.inf}, dict[str, float]),
    ([{True: [math.inf]}], list[dict[bool, list[float]]]),
    (collections.deque([1, 2]), collections.deque[int]),
    (collections.deque([1]), collections.deque),
    (collections.OrderedDict(b=1, a=2), collections.OrderedDict[str, int]),
    (collections.defaultdict(list, a=[1]), collections.defaultdict[str, list[int]]),
    (collections.Counter("aab"), collections.Counter[str]),
    (collections.UserDict(a=1), collections.UserDict),
    (Items([1]), Items),
    (Fields(a=1), Fields),
    (Point(1), Point),
    ({"p": [Point(1)]}, dict[str, list[Point]]),
    (Model(7), Model),
    (MANY, Many),
    ([MANY, None], list[Many | None]),
    ("caf\udce9", str),
    ("caf\udce9 \U0001f600 \ud83d", None),
    ({"caf\udce9": ["\ud83d"]}, dict[str, list[str]]),
    (Text("caf\udce9"), Text),
]

LIKE: list[tuple[Any, Any, Any]] = [
    (Countable(), list[int], [1, 2]),
    (range(3), list[int], [0, 1, 2]),
    ({"a": 1}.keys(), list[str], ["a"]),
    ({"a": 1}.values(), collections.abc.Iterable[int], [1]),
    (types.MappingProxyType({"a": 1}), dict[str, int], {"a": 1}),
    (collections.ChainMap({"a": 1}), collections.abc.Mapping[str, int], {"a": 1}),
    ({Text("a"): [Whole(1), None]}, None, {"a": [1, None]}),
    (Model(7), dict[str, int], {"a": 7}),
]


def is_same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple | collections.deque):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("converter", CONVERTERS, ids=["records", "users"])
@pytest.mark.parametrize(("value", "hint"), SAME)
def test_a_value_comes_back_as_it_was(converter: Any, value: Any, hint: Any) -> None:
    check_type_hint(hint)

    payload = converter.to_payload(value)

    assert is_same(converter.from_payload(payload, hint), value)
    # What Python's own json reads, Temporal's SDKs do.
    json.loads(payload.data)


@pytest.mark.parametrize("converter", CONVERTERS, ids=["records", "users"])
@pytest.mark.parametrize(("value", "hint", "found"), LIKE)
def test_a_value_comes_back_as_what_it_is_like(
    converter: Any, value: Any, hint: Any, found: Any
) -> None:
    assert is_same(converter.from_payload(converter.to_payload(value), hint), found)


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"[NaN", float),
        (b"NaN", int),
        (b'"NaN"', float),
        (b'["a"]', collections.deque[int]),
        (b"1", Text),
        (b'"x"', Whole),
        (b'{"yes": 1}', dict[bool, int]),
        (b"[1]", collections.OrderedDict[str, int]),
        (b"[1]", range),
        (b'"\\udce9', str),
    ],
)
def test_what_is_not_like_it_is_refused(data: bytes, hint: Any) -> None:
    converter = DefaultPayloadConverter()

    with pytest.raises(ValueError, match="cannot be read"):
        converter.from_payload(Payload(data=data), hint)
