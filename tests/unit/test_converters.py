"""User values go through payloads unchanged, and what cannot is refused by name."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_schemas.converters import DefaultPayloadConverter, check_type_hint
from perdure_schemas.payloads import Payload

CONVERTER = DefaultPayloadConverter()


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Mood(StrEnum):
    GOOD = "good"


class Point(NamedTuple):
    x: int
    y: int


class Row(TypedDict):
    name: str
    score: float


@dataclass
class Line:
    sku: str
    price: Decimal
    at: dt.datetime
    tags: set[str] = field(default_factory=set)


@dataclass
class Order:
    id: UUID
    lines: list[Line]
    colour: Colour = Colour.RED
    note: str | None = None


@attrs.define
class Address:
    street: str
    number: int | None = None


class Position(msgspec.Struct, tag=True):
    lat: float


class Person(pydantic.BaseModel):
    name: str
    age: Annotated[int, pydantic.Field(alias="years", ge=0)]
    born: dt.date | None = None
    boss: Person | None = None


@pydantic.dataclasses.dataclass
class Checked:
    count: Annotated[int, pydantic.Field(gt=0)]


@dataclass
class Team:
    people: list[Person]
    by_name: dict[str, Person]


ANN = Person.model_validate({"name": "Ann", "years": 40, "born": dt.date(1980, 1, 2)})
ORDER = Order(
    id=UUID(int=7),
    lines=[Line("a", Decimal("1.50"), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), {"x"})],
)

VALUES: list[tuple[Any, Any]] = [
    (ORDER, Order),
    ([ORDER], list[Order]),
    (Address("Long Street", 3), Address),
    (Position(1.5), Position),
    (Row(name="a", score=1.5), Row),
    (Point(1, 2), Point),
    (ANN, Person),
    (Person.model_validate({"name": "Bo", "years": 1, "boss": ANN}), Person),
    ([ANN], list[Person]),
    (Team([ANN], {"Ann": ANN}), Team),
    (Checked(3), Checked),
    (Colour.RED, Colour),
    (Size.BIG, Size),
    (Mood.GOOD, Mood),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=dt.UTC), dt.datetime),
    (dt.datetime.fromisoformat("2026-01-02T03:04:05.678900"), dt.datetime),
    (dt.date(2026, 1, 2), dt.date),
    (dt.time(3, 4), dt.time),
    (dt.timedelta(days=-1, microseconds=3), dt.timedelta),
    (Decimal("1E+30"), Decimal),
    (UUID(int=1), UUID),
    ((1, "a"), tuple[int, str]),
    ({1, 2}, set[int]),
    (frozenset({"a"}), frozenset[str]),
    ({1: "a"}, dict[int, str]),
    ({"a": b"\x00\xff"}, dict[str, bytes]),
    (2**70, int),
    (-0.5, float),
    ("ünï\u2028", str),
    (True, bool),
    (None, None),
    (None, Order | None),
    (b"", bytes),
    (b"\x00\xff", bytes),
    (bytearray(b"ab"), bytearray),
    (ORDER, Order | int),
    (dt.date(2026, 1, 2), int | dt.date | Decimal),
    (Address("b"), int | Address | Line),
    (ANN, Person | int),
]


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=str)
def test_a_value_comes_back_as_its_hint(value: Any, hint: Any) -> None:
    payload = CONVERTER.to_payload(value)

    found = CONVERTER.from_payload(payload, hint)

    assert found == value
    assert type(found) is type(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(JSON))
def test_plain_values_come_back_without_hints(values: list[Any]) -> None:
    assert CONVERTER.from_payloads(CONVERTER.to_payloads(values)) == values


def test_the_encodings_are_temporals() -> None:
    made = CONVERTER.to_payloads([None, b"x", {"a": 1}])

    assert [(payload.encoding, payload.data) for payload in made] == [
        ("binary/null", b""),
        ("binary/plain", b"x"),
        ("json/plain", b'{"a":1}'),
    ]


def test_unknown_fields_are_ignored_and_missing_ones_take_their_default() -> None:
    data = b'{"street": "s", "since": "a newer release"}'

    assert CONVERTER.from_payload(Payload(data=data), Address) == Address("s")


def test_fewer_hints_than_payloads_leave_the_rest_plain() -> None:
    payloads = CONVERTER.to_payloads([Address("s"), Address("t")])

    assert CONVERTER.from_payloads(payloads, [Address]) == [
        Address("s"),
        {"street": "t", "number": None},
    ]


class Opaque:
    pass


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (Opaque(), TypeError, "Opaque"),
        ([Opaque()], TypeError, "list"),
        (1j, TypeError, "it holds a value of type complex"),
        ({(1, 2): 3}, TypeError, "a dict with tuple keys"),
        (ValueError("x"), TypeError, "ValueError"),
        (lambda: 1, TypeError, "function"),
        (Team([ANN], {"x": 1j}), TypeError, "Team"),  # type: ignore[dict-item]
        (LOOP, ValueError, "nested too deep, or holds itself"),
    ],
)
def test_what_cannot_be_written_is_refused_with_its_argument(
    value: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught:
        CONVERTER.to_payloads([1, value], names=("count", "order"))

    assert str(caught.value).startswith("argument 2 of 2 (order) of type ")


def test_null_beside_text_that_looks_like_nan_is_no_nan() -> None:
    value = {"a": None, "b": b"\xcb\x7f\xf8".decode("latin-1"), "c": b"\xcb\x7f\xf8", "d": 2**70}

    assert CONVERTER.to_payload(value).data.startswith(b'{"a":null')


@pytest.mark.parametrize(
    ("payload", "hint", "text"),
    [
        (Payload(data=b"{"), None, "truncated"),
        (Payload(data=b""), int, "truncated"),
        (Payload(data=b'{"street": 1}'), Address, r"Expected `str`, got `int` - at `\$.street`"),
        (Payload(data=b'{"number": 1}'), Address, "street"),
        (Payload(data=b'{"name": "x", "years": -1}'), Person, "years: Input should be greater"),
        (Payload(data=b'{"people": [{"name": 1}]}'), Team, "name: Input should be a valid string"),
        (Payload(data=b'"x"'), int | Address | Line, "no member fits: int: Expected `int`"),
        (Payload(data=b"1"), Opaque, "no JSON is read as"),
        (Payload(data=b"[" * 100_000), None, "nested too deep"),
        (Payload(data=b"\xff"), None, "malformed|invalid"),
        (Payload(encoding="binary/plain", data=b"xyz"), Order, "plain bytes"),
        (Payload(encoding="json/protobuf", data=b"{}"), None, "'json/protobuf'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_argument(
    payload: Payload, hint: Any, text: str
) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        CONVERTER.from_payloads([payload], [hint], names=("order",))

    assert str(caught.value).startswith("argument 1 (order)")
    assert "\n" not in str(caught.value)


def test_one_value_is_named_as_the_caller_says() -> None:
    with pytest.raises(ValueError, match=r"^the result of charge cannot be read as int: "):
        CONVERTER.from_payload(Payload(data=b'"x"'), int, what="the result of charge")


def test_a_hint_that_nothing_can_be_read_as_is_found_early() -> None:
    with pytest.raises(TypeError, match="Nowhere"):
        check_type_hint(dict[str, "Nowhere"])  # type: ignore[name-defined]  # noqa: F821

    check_type_hint(Annotated[list[Order], ["unhashable"]])
    check_type_hint(None)


def test_pydantic_is_not_imported_for_others() -> None:
    code = (
        "import sys; from perdure_schemas.converters import *; c = DefaultPayloadConverter(); "
        "assert c.from_payload(c.to_payload({'a': 1}), dict) == {'a': 1}; "
        "assert 'pydantic' not in sys.modules and 'pickle' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
