"""Signals that wait for their workflow to be started: kept within limits, taken whole by a start.

They exist only while no run of the id is open or is to follow: else that run takes the signal.
So the next start of the id takes all of them, and that event alone says that they are delivered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from perdure_actors.core.decision import Decision, Rejection
from perdure_schemas.message_events import SignalBuffered, SignalExpired
from perdure_schemas.payloads import SignalInput
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import World
    from perdure_schemas.message_commands import SignalWorkflow
    from perdure_schemas.payloads import Payload

BUFFER_MS_MAX = 30 * 24 * 3600 * 1000


class BufferedSignal(msgspec.Struct, array_like=True, gc=False, frozen=True):
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


def bad_buffer(command: SignalWorkflow) -> str:
    """Why a signal cannot wait for a start; empty when it can, or does not ask to."""
    if not 0 <= command.buffer_ms <= BUFFER_MS_MAX:
        days = BUFFER_MS_MAX // 86_400_000
        return f"buffer_ms is {command.buffer_ms}: give 0 to {BUFFER_MS_MAX} ({days} days)"
    is_of_a_run = command.run_id or command.first_run_id or command.child_of
    if command.buffer_ms and is_of_a_run:
        return "a signal that waits for a start is for whichever run starts: name no run"
    return ""


def decide_buffer(world: World, command: SignalWorkflow, now_ms: int) -> Verdict:
    """Keep a signal that no run can take, where there is room."""
    signal = SignalInput(
        signal_name=command.signal_name,
        input=command.input,
        header=command.header,
        identity=command.identity,
        request_id=command.request_id,
    )
    problem = _no_room(world, command.workflow_id, size_of(signal))
    if problem:
        return Rejection("buffer_full", problem)
    event = SignalBuffered(
        workflow_id=command.workflow_id, signal=signal, expires_ms=now_ms + command.buffer_ms
    )
    return Decision([], Accepted(workflow_id=command.workflow_id, run_id=""), words=[event])


def _no_room(world: World, workflow_id: str, size: int) -> str:
    limits, buffers = world.limits, world.buffers
    count, held = buffers.sizes(workflow_id)
    found = (
        (f"workflow {workflow_id!r}", count, limits.buffered_max, held, limits.buffered_bytes_max),
        (
            "the workflows of its partition",
            buffers.count,
            limits.buffered_all_max,
            buffers.size,
            limits.buffered_all_bytes_max,
        ),
    )
    for whose, there, count_max, bytes_there, bytes_max in found:
        if there >= count_max or bytes_there + size > bytes_max:
            return (
                f"a full signal buffer: {there} signals with {bytes_there} bytes wait for"
                f" {whose} to be started, and this one has {size} bytes; {count_max} signals and"
                f" {bytes_max} bytes are the most: start the workflow, or send the signal when it"
                " runs"
            )
    return ""


def decide_expired(world: World, workflow_id: str, pseq: int) -> SignalExpired | None:
    """The end of a signal that waited long enough; None when a run has taken it."""
    one = world.buffers.find(workflow_id, pseq)
    if one is None:
        return None
    return SignalExpired(
        workflow_id=workflow_id,
        signal_name=one.signal.signal_name,
        request_id=one.signal.request_id,
        pseq=pseq,
    )
