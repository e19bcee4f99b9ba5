"""What was taken before: request ids and the newest command of each source, accepted or not yet.

It is ahead of the table by what is proposed; a shard that loses an append is made anew, with this.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from perdure_actors import table_layout

if TYPE_CHECKING:
    from perdure_schemas.payloads import EffectId
    from perdure_topics.ports import Table

REQUESTS_HELD = 20_000
FORGOTTEN_A_TURN = 500


class DedupEntries:
    """The memory by which each command is taken once."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._requests: OrderedDict[tuple[str, str], table_layout.RequestRow] = OrderedDict()
        self._newest: dict[tuple[str, int], tuple[int, int, int]] = {}

    def request(self, workflow_id: str, request_id: str) -> table_layout.RequestRow | None:
        """What became of a request id; None when it was not seen."""
        row = self._requests.get((workflow_id, request_id))
        if row is None:
            data = self._table.get(table_layout.request_key(workflow_id, request_id))
            row = table_layout.decode_request(data) if data is not None else None
        return row

    def add_request(self, workflow_id: str, request_id: str, row: table_layout.RequestRow) -> None:
        """Remember what becomes of a request id."""
        self._requests[workflow_id, request_id] = row
        if len(self._requests) > REQUESTS_HELD:
            self._requests.popitem(last=False)

    def has_source(self, source: EffectId) -> bool:
        """Whether this command of another actor, or a newer one of its source, was taken."""
        key = (source.topic_id, source.partition)
        last = self._newest.get(key)
        if last is None:
            data = self._table.get(table_layout.last_seen_key(*key))
            if data is None:
                return False
            last = self._newest[key] = tuple(table_layout.decode_any(data))
        return (source.epoch, source.pseq, source.index) <= last

    def add_source(self, source: EffectId) -> None:
        """Remember the newest command of a source."""
        seen = (source.epoch, source.pseq, source.index)
        self._newest[source.topic_id, source.partition] = seen

    def forget_requests(self, oldest_ms: int, start: bytes = b"") -> bytes:
        """Drop some request ids that are so old that a command with one is refused.

        Where to go on is returned: empty at the end.
        """
        end = table_layout.prefix_range(table_layout.REQUESTS)[1]
        found = list(self._table.scan(start or table_layout.REQUESTS, end, limit=FORGOTTEN_A_TURN))
        old = [
            key for key, value in found if table_layout.decode_request(value).time_ms < oldest_ms
        ]
        if old:
            self._table.write((), old)
        return found[-1][0] + b"\0" if len(found) == FORGOTTEN_A_TURN else b""
