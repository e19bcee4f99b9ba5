"""Inputs in either framing: Avro's single objects, and Confluent's with a schema registry.

What a registry says changes only which verdict an input gets, once; the verdict is
in the log, and nobody who reads the log asks the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_schemas.avro import COMMAND_BYTES_MAX, UnreadableRecordError, decode
from perdure_schemas.confluent import decode_confluent, schema_id_of
from perdure_topics.schema_registry_port import NotToBeHad, OnItsWay

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_schemas.payloads import Record
    from perdure_topics.schema_registry_port import SchemaRegistry


class Framing:
    """How the commands of a host are read."""

    def __init__(self, registry: SchemaRegistry | None, ring: Callable[[], None]) -> None:
        """`ring` is called, from any thread, when a schema has come or will not come."""
        self._registry = registry
        self._ring = ring

    def held_by(self, value: bytes | None) -> str | None:
        """Why a record must wait; empty when it only has just begun to, None when it need not."""
        schema_id = schema_id_of(value)
        if schema_id is None or self._registry is None:
            return None
        found = self._registry.look_up(schema_id, on_ready=self._ring)
        return found.problem if isinstance(found, OnItsWay) else None

    def decode(self, value: bytes | None) -> Record:
        """The command that a record holds. Raises UnreadableRecordError with what is wrong."""
        schema_id = schema_id_of(value)
        if schema_id is None:
            return decode(value, bytes_max=COMMAND_BYTES_MAX)
        assert value is not None
        if self._registry is None:
            raise UnreadableRecordError(
                f"the record names schema {schema_id} of a schema registry, and this host has none:"
                " set schema.registry.url in its Kafka configuration, or write Avro's"
                " single-object encoding"
            )
        found = self._registry.look_up(schema_id, on_ready=self._ring)
        if isinstance(found, NotToBeHad):
            raise UnreadableRecordError(found.reason)
        if isinstance(found, OnItsWay):
            # It was here a moment ago, and so many others have been asked for since.
            raise UnreadableRecordError(f"schema {schema_id} is not here any more: send it again")
        try:
            return decode_confluent(value, found)
        except UnreadableRecordError as error:
            raise UnreadableRecordError(
                f"schema {schema_id} of {self._registry.address}: {error}"
            ) from error
