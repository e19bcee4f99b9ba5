"""Values written and read by pydantic alone. Needs the extra `pydantic`.

The default data converter takes pydantic models as well, where they stand by themselves or in
others; this one reads every type hint by pydantic's rules: its coercions, its dataclasses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer, to_json
from pydantic_core.core_schema import any_schema

from perdure.api.common.v1 import Payload
from perdure.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)

__all__ = [
    "PydanticJSONPlainPayloadConverter",
    "PydanticPayloadConverter",
    "ToJsonOptions",
    "pydantic_data_converter",
]

ADAPTERS_MAX = 1024
_ANY = SchemaSerializer(any_schema())


@dataclass
class ToJsonOptions:
    """How pydantic writes JSON."""

    exclude_unset: bool = False
    """Whether fields that were never set are left out."""


class PydanticJSONPlainPayloadConverter(EncodingPayloadConverter):
    """JSON by pydantic."""

    def __init__(
        self,
        to_json_options: ToJsonOptions | None = None,
        *,
        max_cached_type_adapters: int | None = ADAPTERS_MAX,
    ) -> None:
        self._options = to_json_options or ToJsonOptions()
        self._adapter = lru_cache(maxsize=max_cached_type_adapters)(TypeAdapter)

    @property
    def encoding(self) -> str:
        """json/plain."""
        return "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """A payload for any value that pydantic writes. Raises ValueError for another."""
        if self._options.exclude_unset:
            data = _ANY.to_json(value, exclude_unset=True)
        else:
            data = to_json(value)
        return Payload(metadata={"encoding": self.encoding.encode()}, data=data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """The value, validated as its type hint. Raises pydantic's ValidationError."""
        hint: Any = Any if type_hint is None else type_hint
        try:
            adapter = self._adapter(hint)
        except TypeError:
            # An unhashable hint is not kept.
            adapter = TypeAdapter(hint)
        return adapter.validate_json(payload.data)


class PydanticPayloadConverter(CompositePayloadConverter):
    """The default converters, with pydantic for JSON."""

    def __init__(
        self,
        to_json_options: ToJsonOptions | None = None,
        *,
        max_cached_type_adapters: int | None = ADAPTERS_MAX,
    ) -> None:
        json = PydanticJSONPlainPayloadConverter(
            to_json_options, max_cached_type_adapters=max_cached_type_adapters
        )
        others = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(
            *(json if isinstance(one, JSONPlainPayloadConverter) else one for one in others)
        )


pydantic_data_converter = DataConverter(payload_converter_class=PydanticPayloadConverter)
"""The data converter with pydantic for all JSON."""
