"""What waits in a partition for its workflows to be started. Only state; buffering.py decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from perdure_schemas.payloads import SignalInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure_schemas.payloads import Payload


class BufferedSignal(msgspec.Struct, array_like=True, gc=False):
    """A signal that waits, and until when."""

    signal: SignalInput
    expires_ms: int
    size: int


class SignalBuffers:
    """The signals of one partition that wait, by workflow id and the number of their record."""

    def __init__(self) -> None:
        self._of: dict[str, dict[int, BufferedSignal]] = {}
        self._bytes: dict[str, int] = {}
        self.count = 0
        self.size = 0

    def signals(self, workflow_id: str) -> list[SignalInput]:
        """The signals that wait for a workflow, in their order."""
        return [one.signal for one in self._of.get(workflow_id, {}).values()]

    def sizes(self, workflow_id: str) -> tuple[int, int]:
        """How many wait for a workflow, and their bytes."""
        return len(self._of.get(workflow_id, ())), self._bytes.get(workflow_id, 0)

    def find(self, workflow_id: str, pseq: int) -> BufferedSignal | None:
        """One that waits; None when it does not, or not any more."""
        return self._of.get(workflow_id, {}).get(pseq)

    def add(self, workflow_id: str, pseq: int, one: BufferedSignal) -> None:
        """Keep one; records come in their order."""
        self._of.setdefault(workflow_id, {})[pseq] = one
        self._count(workflow_id, 1, one.size)

    def remove(self, workflow_id: str, pseq: int) -> BufferedSignal | None:
        """Forget one that waited long enough."""
        one = self._of.get(workflow_id, {}).pop(pseq, None)
        if one is not None:
            self._count(workflow_id, -1, -one.size)
            if not self._of[workflow_id]:
                del self._of[workflow_id], self._bytes[workflow_id]
        return one

    def take(self, workflow_id: str) -> dict[int, BufferedSignal]:
        """Forget all that wait for a workflow: a run of it has them now."""
        taken = self._of.pop(workflow_id, {})
        size = self._bytes.pop(workflow_id, 0)
        self.count -= len(taken)
        self.size -= size
        return taken

    def _count(self, workflow_id: str, count: int, size: int) -> None:
        self._bytes[workflow_id] = self._bytes.get(workflow_id, 0) + size
        self.count += count
        self.size += size


def size_of(signal: SignalInput) -> int:
    """The bytes of a signal that count against the limits."""
    return len(signal.signal_name.encode()) + _size([*signal.input, *signal.header.values()])


def _size(payloads: Iterable[Payload]) -> int:
    return sum(len(one.data) + sum(map(len, one.metadata.values())) for one in payloads)
