"""The inputs of a shard as far as they can be read now.

A record whose schema is not here yet holds up those behind it, because order is part of what a
sender asks for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.watermark import Watermark
    from perdure_topics.ports import StoredRecord


AHEAD_MAX = 1_000
"""So many inputs behind one that is held up are looked at."""


class ReadableInputs:
    """The inputs of one shard, as far as they can be read now."""

    def __init__(self, services: Services, place: tuple[str, int], watermark: Watermark) -> None:
        self._services = services
        self._topic, self._partition = place
        self._watermark = watermark
        self._held: list[StoredRecord] = []
        self._said = -1

    def take(self, records_max: int) -> list[StoredRecord]:
        """Take inputs up to the first that must wait for its schema."""
        services = self._services
        records = self._held or services.inputs.take(self._topic, self._partition, records_max)
        ready = records[:records_max]
        for place, record in enumerate(ready):
            problem = services.framing.held_by(record.value)
            if problem is not None:
                ready = ready[:place]
                self._hold(record, problem)
                break
        self._held = records[len(ready) :]
        if not self._held:
            self._watermark.held_by = ""
        return ready

    def look_ahead(self) -> list[StoredRecord]:
        """Read on behind what is held up: a person's word about it may be there."""
        room = AHEAD_MAX - len(self._held)
        if room <= 0:
            return []
        records = self._services.inputs.take(self._topic, self._partition, room)
        self._held += records
        return records

    @property
    def held(self) -> StoredRecord | None:
        """The input that holds the others up, if there is one."""
        return self._held[0] if self._held else None

    def release(self) -> StoredRecord:
        """Give the held input out, whatever it waits for."""
        record = self._held.pop(0)
        self._watermark.held_by = ""
        return record

    def forget(self) -> None:
        """Give up what is held: it is read again."""
        self._held = []
        self._watermark.held_by = ""

    def _hold(self, record: StoredRecord, problem: str) -> None:
        if not problem:
            return
        where = f"{self._topic}-{self._partition}"
        text = (
            f"{where}: the record at offset {record.offset} waits for its schema, and those behind"
            f" it wait with it: {problem}"
        )
        self._watermark.held_by = text
        if record.offset != self._said:
            self._said = record.offset
            self._services.finding("registry_away", text)
