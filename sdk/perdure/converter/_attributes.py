"""Search attributes as payloads, under the names of converters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from perdure._search_attribute_payloads import attribute_pairs, attribute_payloads, typed_attributes
from perdure._search_attributes import (
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    TypedSearchAttributes,
)
from perdure.api.common.v1 import Payload
from perdure.api.common.v1 import SearchAttributes as Message
from perdure.converter._payload_codecs import payload_of, payload_record
from perdure_schemas.converters import DefaultPayloadConverter

_CONVERTER = DefaultPayloadConverter()


def encode_search_attributes(
    attributes: SearchAttributes | TypedSearchAttributes, api: Message
) -> None:
    """Say search attributes in a message. Raises TypeError or ValueError for wrong ones."""
    for name, record in attribute_payloads(attributes, _CONVERTER).items():
        api.indexed_fields[name] = payload_of(record)


def encode_typed_search_attribute_value(key: SearchAttributeKey[Any], value: Any) -> Payload:
    """The payload of one value; None removes. Raises TypeError for what the key does not take."""
    if value is None:
        return payload_of(_CONVERTER.to_payload(None))
    pairs = TypedSearchAttributes([SearchAttributePair(key, value)])
    return payload_of(attribute_payloads(pairs, _CONVERTER)[key.name])


def encode_search_attribute_values(vals: Sequence[Any]) -> Payload:
    """The payload of untyped values. Raises TypeError for something else than a list of them."""
    if not isinstance(vals, list):
        raise TypeError("values of search attributes are lists")
    for value in vals:
        if not isinstance(value, str | int | float | datetime):
            raise TypeError(f"{value!r} is no value of a search attribute")
    return payload_of(_CONVERTER.to_payload(vals))


def decode_search_attributes(api: Message) -> SearchAttributes:
    """The attributes of a message, each a list."""
    return {
        pair.key.name: list(pair.value) if isinstance(pair.value, list | tuple) else [pair.value]
        for pair in _pairs(api)
    }


def decode_typed_search_attributes(api: Message) -> TypedSearchAttributes:
    """The attributes of a message whose value is what their type says."""
    return typed_attributes(_pairs(api))


def _pairs(api: Message) -> list[SearchAttributePair[Any]]:
    records = {name: payload_record(payload) for name, payload in api.indexed_fields.items()}
    return attribute_pairs(records, _CONVERTER)
