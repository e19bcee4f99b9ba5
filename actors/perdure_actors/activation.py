"""Running a run's code: make it, replay it from the table's history, feed it an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors import rows
from perdure_actors.edges import CodecError
from perdure_actors.replay.blocked import BlockedError, DeadlockError
from perdure_actors.replay.coroutine import RunFacts
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.transition import TransitionBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_actors.replay.coroutine import Coroutine
    from perdure_actors.residents import Resident
    from perdure_actors.services import Services
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table


def history_of(
    table: Table, run_id: str, from_seq: int = 0
) -> Iterator[tuple[int, int, int, TransitionBody]]:
    """The transitions of a run as the table holds them: offset, pseq, time and body."""
    for _, value in table.scan(*rows.history_range(run_id, from_seq)):
        offset, pseq, time_ms, body = rows.unpack_history(value)
        yield offset, pseq, time_ms, decode_as(TransitionBody, body)


def history_from(
    table: Table, run_id: str, from_seq: int
) -> Iterator[tuple[int, int, int, TransitionBody]]:
    """The transitions that hold a run's events from a seq on, the first one cut to it."""
    start, _ = rows.history_range(run_id)
    end = rows.history_key(run_id, max(from_seq, 1) + 1)
    at = 0
    for key, _ in table.scan(start, end, reverse=True, limit=1):
        at = int.from_bytes(key[-8:], "big")
    for offset, pseq, time_ms, body in history_of(table, run_id, at):
        skip = max(0, from_seq - body.seq)
        if skip >= len(body.events):
            continue
        cut = replace(body, seq=body.seq + skip, events=body.events[skip:]) if skip else body
        yield offset, pseq, time_ms, cut


class Activation:
    """Runs the code of one shard's runs."""

    def __init__(self, services: Services, table: Table) -> None:
        self._services = services
        self._table = table
        self.code_version = services.code.version
        self.refusal = ""
        """Why no code may run now; empty when it may."""
        self.activations = 0
        self.cache_hits = 0
        self.replays = 0
        self.replayed_events = 0

    def feed(
        self, resident: Resident, event: Record, *, seq: int, before_seq: int, now_ms: int
    ) -> list[Record]:
        """What the code asks for when it takes an input event; code made anew is replayed first.

        Raises BlockedError when it cannot; the code is let go of and made anew next time.
        """
        if self.refusal:
            raise BlockedError("killer", self.refusal)
        self.activations += 1
        label = resident.run.state.workflow_id
        try:
            coroutine = resident.coroutine
            if coroutine is None:
                coroutine = resident.coroutine = self.replay(resident, before_seq=before_seq)
            else:
                self.cache_hits += 1
            plain = self._incoming([event], f"event {seq} of workflow {label!r}")[0]
            with self._services.code.watching(label):
                outputs = coroutine.advance(plain, seq=seq, time_ms=now_ms)
            return self._outgoing(outputs, f"what workflow {label!r} asks for at event {seq}")
        except DeadlockError as error:
            resident.drop_code()
            raise BlockedError("deadlock", str(error)) from None
        except BlockedError:
            resident.drop_code()
            raise

    def replay(self, resident: Resident, *, before_seq: int) -> Coroutine:
        """The code of a run, brought to where its history ends.

        Raises BlockedError when the code does not do what the history says it did.
        """
        run = resident.run
        state = run.state
        facts = RunFacts(
            namespace=self._services.namespace,
            task_queue=self._services.task_queue,
            workflow_id=state.workflow_id,
            run_id=state.run_id,
        )
        coroutine = self._services.code.make(run.started, facts)
        if before_seq <= 1:
            return coroutine
        self.replays += 1
        try:
            for _, _, time_ms, body in history_of(self._table, state.run_id):
                if body.seq >= before_seq:
                    break
                events = self._incoming(
                    [decode(data) for data in body.events],
                    f"the events from {body.seq} on of workflow {state.workflow_id!r}",
                )
                self.replayed_events += len(events)
                with self._services.code.watching(state.workflow_id):
                    coroutine.recall(events, seq=body.seq, time_ms=time_ms)
        except DeadlockError as error:
            coroutine.close()
            raise BlockedError("deadlock", str(error)) from None
        except BlockedError:
            coroutine.close()
            raise
        return coroutine

    def _incoming(self, records: list[Record], what: str) -> list[Record]:
        """Recorded events as user code may read them. Raises BlockedError when they cannot be."""
        try:
            return self._services.code.door.incoming(records, what=what)
        except CodecError as error:
            raise _unopened(error) from error

    def _outgoing(self, records: list[Record], what: str) -> list[Record]:
        """What the code asked for, as the log may hold it. Raises BlockedError when it cannot."""
        try:
            return self._services.code.door.outgoing(records, what=what)
        except CodecError as error:
            raise _unopened(error) from error

    def event_at(self, run_id: str, seq: int) -> Record | None:
        """An event of a run's history by its seq."""
        start, _ = rows.history_range(run_id)
        end = rows.history_key(run_id, seq + 1)
        for _, value in self._table.scan(start, end, reverse=True, limit=1):
            body = decode_as(TransitionBody, rows.unpack_history(value)[3])
            place = seq - body.seq
            return decode(body.events[place]) if 0 <= place < len(body.events) else None
        return None


def _unopened(error: CodecError) -> BlockedError:
    return BlockedError(
        "codec",
        f"{error}. Give this worker's client the payload codec, key or storage that wrote them;"
        " the run goes on by itself once it is there",
    )
