"""Search attributes as payloads that say their type, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec.structs import replace

from perdure._search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeUpdate,
    TypedSearchAttributes,
    fits,
)
from perdure_actors.core.markers import CHANGE_VERSION
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload

_TYPE: Final = "type"
_KIND: Final = SearchAttributeIndexedValueType
_WORDS: Final = {
    _KIND.TEXT: b"Text",
    _KIND.KEYWORD: b"Keyword",
    _KIND.INT: b"Int",
    _KIND.DOUBLE: b"Double",
    _KIND.BOOL: b"Bool",
    _KIND.DATETIME: b"Datetime",
    _KIND.KEYWORD_LIST: b"KeywordList",
}
_KEYS: Final = {
    b"Text": SearchAttributeKey.for_text,
    b"Keyword": SearchAttributeKey.for_keyword,
    b"Int": SearchAttributeKey.for_int,
    b"Double": SearchAttributeKey.for_float,
    b"Bool": SearchAttributeKey.for_bool,
    b"Datetime": SearchAttributeKey.for_datetime,
    b"KeywordList": SearchAttributeKey.for_keyword_list,
}
Given = TypedSearchAttributes | SearchAttributes | Sequence[SearchAttributeUpdate[Any]]

NAMES_MAX = 10_000


def attribute_payloads(given: Given | None, converter: PayloadConverter) -> dict[str, Payload]:
    """Search attributes as records hold them; what is to be removed is a None.

    Raises TypeError for a value that its key does not take, ValueError for a name given twice.
    """
    payloads: dict[str, Payload] = {}
    for key, value in _pairs(given):
        if key.name == CHANGE_VERSION:
            raise ValueError(f"search attribute {CHANGE_VERSION} is kept by workflow.patched")
        if key.name in payloads:
            raise ValueError(f"search attribute {key.name!r} is given twice")
        if value is not None:
            # It refuses a value that the key does not take.
            TypedSearchAttributes([SearchAttributePair(key, value)])
        payload = converter.to_payload(value, what=f"the search attribute {key.name!r}")
        if not isinstance(given, Mapping) or key.indexed_value_type == _KIND.DATETIME:
            # Only keys say a type: 1 may become 1.5, and a list of one text is Temporal's untyped
            # form of a text. A time is no time without its type.
            word = _WORDS[key.indexed_value_type]
            payload = replace(payload, metadata={**payload.metadata, _TYPE: word})
        payloads[key.name] = payload
    return payloads


def _pairs(given: Given | None) -> list[tuple[SearchAttributeKey[Any], Any]]:
    if not given:
        return []
    if isinstance(given, TypedSearchAttributes):
        return [(pair.key, pair.value) for pair in given]
    if isinstance(given, Mapping):
        return [(key_of(name, value), _plain(value)) for name, value in given.items()]
    return [(update.key, update.value) for update in given]


def _plain(value: Any) -> Any:
    """Untyped attributes are lists in Temporal, of one where it is one value; empty removes."""
    if isinstance(value, list | tuple):
        if not value:
            return None
        if len(value) == 1 and not isinstance(value[0], str):
            return value[0]
        return list(value)
    return value


def key_of(name: str, value: Any) -> SearchAttributeKey[Any]:
    """The key that a value fits, where nobody has said which."""
    if isinstance(value, list | tuple):
        if len(value) != 1 or isinstance(value[0], str):
            return SearchAttributeKey.for_keyword_list(name)
        value = value[0]
    if isinstance(value, bool):
        return SearchAttributeKey.for_bool(name)
    if isinstance(value, int):
        return SearchAttributeKey.for_int(name)
    if isinstance(value, float):
        return SearchAttributeKey.for_float(name)
    if isinstance(value, datetime):
        return SearchAttributeKey.for_datetime(name)
    return SearchAttributeKey.for_keyword(name)


def attribute_pairs(
    payloads: Mapping[str, Payload], converter: PayloadConverter
) -> list[SearchAttributePair[Any]]:
    """Search attributes as their keys and values."""
    pairs = []
    for name, payload in payloads.items():
        what = f"the search attribute {name!r}"
        word = payload.metadata.get(_TYPE, b"")
        hint = datetime if word == b"Datetime" else None
        value = converter.from_payload(payload, hint, what=what)
        make: Any = _KEYS.get(word)
        key = make(name) if make else key_of(name, value)
        pairs.append(SearchAttributePair(key, value))
    return pairs


def typed_attributes(pairs: Sequence[SearchAttributePair[Any]]) -> TypedSearchAttributes:
    """The pairs whose value is what its key takes: other producers may have written anything."""
    return TypedSearchAttributes([pair for pair in pairs if fits(pair)])


def check_types(held: Mapping[str, Payload], updates: Mapping[str, Payload]) -> None:
    """Refuse a second type for an attribute. Raises TypeError."""
    for name, payload in updates.items():
        before = held[name].metadata.get(_TYPE) if name in held else None
        now = payload.metadata.get(_TYPE)
        if before is not None and now is not None and before != now:
            raise TypeError(
                f"search attribute {name!r} is of type {before.decode()} in this run, and is given"
                f" as {now.decode()}: an attribute has one type; take another name for the other"
            )


class AttributeTypes:
    """The type that each search attribute was given with, by one client."""

    def __init__(self) -> None:
        self._words: dict[str, bytes] = {}

    def check(self, given: Given | None, payloads: Mapping[str, Payload]) -> None:
        """Refuse a second type for an attribute. Raises TypeError.

        Only keys say a type; a value without one may be a whole number now and a fraction then.
        """
        if not isinstance(given, TypedSearchAttributes):
            return
        for name, payload in payloads.items():
            now = payload.metadata[_TYPE]
            before = self._words.get(name)
            if before is None and len(self._words) < NAMES_MAX:
                self._words[name] = now
            elif before is not None and before != now:
                raise TypeError(
                    f"search attribute {name!r} was given by this client as {before.decode()}, and"
                    f" is given as {now.decode()}: an attribute has one type; take another name for"
                    " the other"
                )
