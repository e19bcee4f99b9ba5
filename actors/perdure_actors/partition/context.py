"""What deciding may ask of a partition: its runs, time, ids, types of search attributes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from perdure_actors.core.liveness import Liveness
from perdure_actors.core.search_attribute_types import is_said
from perdure_actors.inherited_history import input_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_schemas.command_headers import AttemptReport
    from perdure_topics.engine_keys import EngineKeys

    TypeOf = Callable[[str], str]
    from perdure_actors.core.decision import Limits
    from perdure_actors.core.signal_buffer import SignalBuffers
    from perdure_actors.core.state import ActorState, RecordId, Run
    from perdure_actors.partition.log_time import LogTime
    from perdure_actors.partition.run_cache import RunCache
    from perdure_topics.fold import Cursor


class AttributeTypes:
    """Asks every owned partition for the type that its runs have given an attribute.

    What partitions of other hosts hold is not known here, nor that of a table that is still being
    opened, so an attribute may get two types there; filters find either.
    """

    def __init__(self) -> None:
        self._partitions: list[TypeOf] = []

    def join(self, type_of: TypeOf) -> None:
        """A partition is owned."""
        self._partitions.append(type_of)

    def leave(self, type_of: TypeOf) -> None:
        """A partition is let go: its table must not be read any more."""
        if type_of in self._partitions:
            self._partitions.remove(type_of)

    def find(self, name: str) -> str:
        """The type of an attribute; empty when no run has it."""
        guess = ""
        for type_of in self._partitions:
            found = type_of(name)
            if is_said(found):
                return found
            guess = guess or found
        return guess


class PartitionContext:
    """The core's World over one shard's memory."""

    def __init__(
        self,
        run_cache: RunCache,
        cursor: Cursor,
        log_time: LogTime,
        *,
        limits: Limits,
        task_queue: str,
        engine_keys: EngineKeys,
        types: AttributeTypes,
    ) -> None:
        self.limits = limits
        self.task_queue = task_queue
        self._run_cache = run_cache
        self.log_time = log_time
        self._engine_keys = engine_keys
        self._types = types
        self.is_sent: Callable[[str], bool] = lambda _run_id: False
        """Whether every effect of a run's accepted records is acknowledged."""
        self._nonce = cursor.nonce
        self._pseq = cursor.pseq + 1
        self._run_ids = 0
        # By recorded time, as all deadlines are.
        self.liveness = Liveness(self.time_ms)

    @property
    def buffers(self) -> SignalBuffers:
        """The signals of this partition that wait for a start."""
        return self._run_cache.signal_buffer.buffers

    def next_record(self, pseq: int) -> None:
        """The record that is decided next has this number."""
        if pseq != self._pseq:
            self._pseq = pseq
            self._run_ids = 0

    def token(self, issued: RecordId) -> bytes:
        """The token of an attempt: derived from its record, so the same on every resend."""
        text = b"%d/%d/%d/" % (issued.epoch, issued.pseq, issued.place) + issued.nonce
        return hashlib.blake2b(
            text, digest_size=16, key=self._engine_keys.at(issued.epoch)
        ).digest()

    def may_report_by_ids(self, report: AttemptReport) -> bool:
        """Whether a report without an attempt's token is taken: with keys, one that is signed."""
        return self._engine_keys.is_signed(report) if self._engine_keys else not report.token

    def new_run_id(self) -> str:
        """A run id derived from the record that is being decided: a UUID of version 7's form."""
        self._run_ids += 1
        text = b"%d/%d/" % (self._pseq, self._run_ids) + self._nonce
        digest = hashlib.blake2b(text, digest_size=10).hexdigest()
        head = f"{self.time_ms:012x}"
        variant = "89ab"[int(digest[3], 16) & 3]
        return f"{head[:8]}-{head[8:]}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"

    def run(self, run_id: str) -> Run | None:
        """A run of this partition."""
        resident = self._run_cache.find(run_id)
        return resident.run if resident else None

    def current(self, workflow_id: str) -> Run | None:
        """The newest run of a workflow id."""
        resident = self._run_cache.current(workflow_id)
        return resident.run if resident else None

    def actor(self, workflow_id: str) -> ActorState | None:
        """What is known of a workflow id over its runs."""
        resident = self._run_cache.current(workflow_id)
        return resident.run.actor if resident else None

    def input_at(self, run_id: str, seq: int) -> int:
        """The newest input of a run up to an event, as its history has it; 0 when it has none."""
        return input_at(self._run_cache.history(run_id), seq)

    def is_settled(self, run_id: str) -> bool:
        """Whether all that a run has brought about is accepted and sent."""
        resident = self._run_cache.find(run_id)
        return resident is not None and not resident.pinned and self.is_sent(run_id)

    def attribute_type(self, name: str) -> str:
        """The type of a search attribute, here or in another partition of this host."""
        return self._types.find(name)

    @property
    def time_ms(self) -> int:
        """Recorded time, as of the last look."""
        return self.log_time.time_ms

    @property
    def mono_ms(self) -> int:
        """The monotonic clock, as of the last look."""
        return self.log_time.mono_ms

    def now_ms(self) -> int:
        """Recorded time: by the log's clock, never behind what was recorded."""
        return self.log_time.now_ms()
