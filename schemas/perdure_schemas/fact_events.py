"""What a run's code notes down: markers, memo, search attributes, emits. Pure data only."""

from __future__ import annotations

from perdure_schemas.payloads import Payload, Record


class MarkerRecorded(Record, frozen=True, kw_only=True, gc=False):
    """The code noted a value that replay gives back."""

    kind: str
    name: str = ""
    value: Payload | None = None
    deprecated: bool = False
    call_site: str = ""


class MemoUpserted(Record, frozen=True, kw_only=True, gc=False):
    """The code changed the run's memo."""

    memo: dict[str, Payload] = {}
    call_site: str = ""


class SearchAttributesUpserted(Record, frozen=True, kw_only=True, gc=False):
    """The code changed the run's search attributes."""

    search_attributes: dict[str, Payload] = {}
    call_site: str = ""


class RecordEmitted(Record, frozen=True, kw_only=True, gc=False):
    """The code emitted a record for a topic of the user's; the relay publishes it once."""

    topic: str
    key: bytes | None = None
    value: bytes | None = None
    headers: dict[str, bytes] = {}
    partition: int = -1
    call_site: str = ""
