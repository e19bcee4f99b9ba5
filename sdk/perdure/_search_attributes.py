"""Search attributes: typed keys, pairs of key and value, and collections of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_origin, overload

SearchAttributeValue = str | int | float | bool | datetime | Sequence[str]
SearchAttributeValueType = TypeVar(
    "SearchAttributeValueType", str, int, float, bool, datetime, Sequence[str]
)
SearchAttributes = Mapping[str, Any]
"""Attributes by name alone, untyped."""
T = TypeVar("T")


class SearchAttributeIndexedValueType(IntEnum):
    """How an attribute is indexed."""

    TEXT = 1
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7


class SearchAttributeUpdate(ABC, Generic[SearchAttributeValueType]):
    """A value for a key, or the wish that it has none."""

    @property
    @abstractmethod
    def key(self) -> SearchAttributeKey[SearchAttributeValueType]:
        """The attribute's key."""

    @property
    @abstractmethod
    def value(self) -> SearchAttributeValueType | None:
        """The new value; None to remove it."""


class SearchAttributeKey(ABC, Generic[SearchAttributeValueType]):
    """A name with the type of its values."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The attribute's name."""

    @property
    @abstractmethod
    def indexed_value_type(self) -> SearchAttributeIndexedValueType:
        """How it is indexed."""

    @property
    @abstractmethod
    def value_type(self) -> type[SearchAttributeValueType]:
        """The type of its values."""

    @property
    def origin_value_type(self) -> type:
        """The same without its type arguments."""
        kind: Any = self.value_type
        found: type = kind if isinstance(kind, type) else get_origin(kind)
        return found

    def value_set(
        self, value: SearchAttributeValueType
    ) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """The update that sets a value."""
        return _Update(self, value)

    def value_unset(self) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """The update that removes the value."""
        return _Update(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """A key of texts, found by their words."""
        return _Key(name, SearchAttributeIndexedValueType.TEXT, str)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """A key of words, found whole."""
        return _Key(name, SearchAttributeIndexedValueType.KEYWORD, str)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """A key of whole numbers."""
        return _Key(name, SearchAttributeIndexedValueType.INT, int)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """A key of numbers."""
        return _Key(name, SearchAttributeIndexedValueType.DOUBLE, float)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """A key of truth values."""
        return _Key(name, SearchAttributeIndexedValueType.BOOL, bool)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """A key of points in time, with their time zone."""
        return _Key(name, SearchAttributeIndexedValueType.DATETIME, datetime)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """A key of several words, each found whole."""
        # A subscripted type is no `type` to the checker, though it is what users compare with.
        words: Any = Sequence[str]
        return _Key(name, SearchAttributeIndexedValueType.KEYWORD_LIST, words)


@dataclass(frozen=True)
class _Key(SearchAttributeKey[SearchAttributeValueType]):
    _name: str
    _indexed_value_type: SearchAttributeIndexedValueType
    _value_type: type[SearchAttributeValueType]

    @property
    def name(self) -> str:
        return self._name

    @property
    def indexed_value_type(self) -> SearchAttributeIndexedValueType:
        return self._indexed_value_type

    @property
    def value_type(self) -> type[SearchAttributeValueType]:
        return self._value_type


@dataclass(frozen=True)
class _Update(SearchAttributeUpdate[SearchAttributeValueType]):
    _key: SearchAttributeKey[SearchAttributeValueType]
    _value: SearchAttributeValueType | None

    @property
    def key(self) -> SearchAttributeKey[SearchAttributeValueType]:
        return self._key

    @property
    def value(self) -> SearchAttributeValueType | None:
        return self._value


class SearchAttributePair(NamedTuple, Generic[SearchAttributeValueType]):
    """A key with its value."""

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType


def fits(pair: SearchAttributePair[Any]) -> bool:
    """Whether the value is what its key takes; a text is no list of words."""
    kind = pair.key.origin_value_type
    return isinstance(pair.value, kind) and not (kind is Sequence and isinstance(pair.value, str))


@dataclass(frozen=True, eq=False, repr=False)
class TypedSearchAttributes(Collection[SearchAttributePair[Any]]):
    """Attributes with their types, each key once."""

    search_attributes: Sequence[SearchAttributePair[Any]]

    empty: ClassVar[TypedSearchAttributes]

    def __post_init__(self) -> None:
        ordered = sorted(self.search_attributes, key=lambda pair: pair.key.name)
        object.__setattr__(self, "search_attributes", ordered)
        for pair in self.search_attributes:
            if not fits(pair):
                kind = pair.key.origin_value_type
                taken = "a list of str" if kind is Sequence else kind.__name__
                raise TypeError(
                    f"search attribute {pair.key.name!r} is given a value of type "
                    f"{type(pair.value).__name__}; its key takes {taken}"
                )
        names = [pair.key.name for pair in self.search_attributes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"search attributes given twice: {', '.join(twice)}")

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        return any(pair.key == key for pair in self.search_attributes)

    def __getitem__(
        self, key: SearchAttributeKey[SearchAttributeValueType]
    ) -> SearchAttributeValueType:
        for pair in self.search_attributes:
            if pair.key == key:
                value: SearchAttributeValueType = pair.value
                return value
        raise KeyError(key.name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TypedSearchAttributes):
            return NotImplemented
        return self.search_attributes == other.search_attributes

    def __repr__(self) -> str:
        shown = ", ".join(f"{pair.key.name}={pair.value!r}" for pair in self)
        return f"TypedSearchAttributes({shown})"

    def __hash__(self) -> int:
        return hash(tuple(pair.key.name for pair in self.search_attributes))

    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType]
    ) -> SearchAttributeValueType | None: ...

    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType], default: T
    ) -> SearchAttributeValueType | T: ...

    def get(self, key: SearchAttributeKey[Any], default: Any = None) -> Any:
        """The value of a key, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def updated(self, *search_attributes: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """A copy with these in place of those of the same name."""
        names = {pair.key.name for pair in search_attributes}
        kept = [pair for pair in self.search_attributes if pair.key.name not in names]
        return TypedSearchAttributes([*kept, *search_attributes])


TypedSearchAttributes.empty = TypedSearchAttributes([])
