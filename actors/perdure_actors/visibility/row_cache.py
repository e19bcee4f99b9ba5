"""The runs that lists showed lately: a page that is looked at again reads only their states."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol, TypeVar

LISTED_MAX: Final = 256
LISTED_BYTES_MAX: Final = 4_096


class Row(Protocol):
    """A run as a list has read it."""

    data: bytes
    """Its state's row; a run whose row is the same is the same in all that is shown of it."""
    bytes_read: int


R = TypeVar("R", bound=Row)


class Listed:
    """The runs of one shard that were shown last."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Row] = OrderedDict()

    def find(self, run_id: str, data: bytes, kind: type[R]) -> R | None:
        """A run that was kept, while its state's row is what it was."""
        row = self._rows.get(run_id)
        if row is None or row.data != data:
            return None
        assert isinstance(row, kind), "rows are of one kind"
        self._rows.move_to_end(run_id)
        return row

    def keep(self, run_id: str, row: Row) -> None:
        """Keep a run that was shown, unless it is large."""
        if row.bytes_read > LISTED_BYTES_MAX:
            self._rows.pop(run_id, None)
            return
        self._rows[run_id] = row
        if len(self._rows) > LISTED_MAX:
            self._rows.popitem(last=False)
