"""Running a run's code: make it, replay it from the table's history, feed it an input."""

from __future__ import annotations

import contextlib
import warnings
from itertools import islice, takewhile
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from perdure_actors import table_layout
from perdure_actors.definitions.payload_codecs import CodecError
from perdure_actors.replay.blocked import BlockedError, DeadlockError
from perdure_actors.replay.comparison import HEADS
from perdure_actors.replay.contexts import RecordContexts
from perdure_actors.replay.coroutine import RunFacts
from perdure_actors.replay.message_handlers import (
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
)
from perdure_schemas.avro import decode, decode_as, head_reader
from perdure_schemas.bounds import fit_failure
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.message_commands import QueryWorkflow
from perdure_schemas.payloads import Failure, Payload
from perdure_schemas.replies import QueryAnswer, UpdateAnswer
from perdure_schemas.transition import TransitionBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from perdure_actors.partition.run_cache import CachedRun
    from perdure_actors.partition.services import Services
    from perdure_actors.replay.coroutine import Coroutine
    from perdure_actors.replay.message_handlers import Messages, Unfinished
    from perdure_schemas.payloads import Record
    from perdure_topics.ports import Table

T = TypeVar("T")
DECODED_AT_ONCE = 64
"""Transitions of a replay whose payloads are decoded together."""
FAILURE_BYTES_MAX = 1024 * 1024
"""What a refusal, or an answer to a query that failed, says of why."""
_read_brief = head_reader(HEADS)


def history_of(
    table: Table, run_id: str, from_seq: int = 0
) -> Iterator[tuple[int, int, int, TransitionBody]]:
    """The transitions of a run as the table holds them: offset, pseq, time and body."""
    for _, value in table.scan(*table_layout.history_range(run_id, from_seq)):
        offset, pseq, time_ms, body = table_layout.unpack_history(value)
        yield offset, pseq, time_ms, decode_as(TransitionBody, body)


def history_from(
    table: Table, run_id: str, from_seq: int
) -> Iterator[tuple[int, int, int, TransitionBody]]:
    """The transitions that hold a run's events from a seq on, the first one cut to it."""
    start, _ = table_layout.history_range(run_id)
    end = table_layout.history_key(run_id, max(from_seq, 1) + 1)
    at = 0
    for key, _ in table.scan(start, end, reverse=True, limit=1):
        at = int.from_bytes(key[-8:], "big")
    for offset, pseq, time_ms, body in history_of(table, run_id, at):
        skip = max(0, from_seq - body.seq)
        if skip >= len(body.events):
            continue
        cut = replace(body, seq=body.seq + skip, events=body.events[skip:]) if skip else body
        yield offset, pseq, time_ms, cut


def warn_unfinished(workflow_id: str, unfinished: Sequence[Unfinished]) -> None:
    """Tell whose handlers were abandoned with their run."""
    for kind, category in (
        ("signal", UnfinishedSignalHandlersWarning),
        ("update", UnfinishedUpdateHandlersWarning),
    ):
        names = [
            f"{one.name} ({one.id})" if one.id else one.name
            for one in unfinished
            if one.kind == kind
        ]
        if not names:
            continue
        # Where warnings are errors, or showing one fails, the host goes on all the same.
        with contextlib.suppress(Exception):
            warnings.warn(
                f"workflow {workflow_id!r} ended while {kind} handlers were at work, and they were"
                f" abandoned: {', '.join(names[:20])}. Before the run ends, await"
                " workflow.wait_condition(workflow.all_handlers_finished); or mark the handlers"
                " with unfinished_policy=HandlerUnfinishedPolicy.ABANDON",
                category,
                stacklevel=2,
            )


class Executor:
    """Runs the code of one shard's runs."""

    def __init__(self, services: Services, table: Table) -> None:
        self._services = services
        self._table = table
        self.code_version = services.code.version
        self.namespace = services.namespace
        self.refusal = ""
        """Why no code may run now; empty when it may."""
        self.activations = 0
        self.cache_hits = 0
        self.replays = 0
        self.replayed_events = 0

    def feed(
        self,
        resident: CachedRun,
        event: Record,
        *,
        seq: int,
        before_seq: int,
        now_ms: int,
        history_bytes: int,
    ) -> list[Record]:
        """What the code asks for when it takes an input event; code made anew is replayed first.

        `history_bytes` is the size of the history before this transition.

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
            contexts = coroutine.converters.contexts
            plain = self._incoming([event], f"event {seq} of workflow {label!r}", contexts)[0]
            with self._services.code.watching(label, resident.run.started.workflow_type):
                outputs = coroutine.advance(
                    plain, seq=seq, time_ms=now_ms, history_bytes=history_bytes
                )
            what = f"what workflow {label!r} asks for at event {seq}"
            outputs = self._outgoing(outputs, what, contexts)
        except DeadlockError as error:
            resident.drop_code()
            raise BlockedError("deadlock", str(error)) from None
        except BlockedError:
            resident.drop_code()
            raise
        if coroutine.messages.unfinished:
            warn_unfinished(label, coroutine.messages.unfinished)
        return outputs

    def consult(self, resident: CachedRun, event: Record) -> UpdateAnswer | None:
        """Why the code refuses a message that has not happened yet; None when it does not.

        Raises BlockedError when the code cannot be asked.
        """
        state = resident.run.state
        what = f"a message to workflow {state.workflow_id!r}"
        facts = self._facts(state.workflow_id, state.run_id)
        plain = self._incoming([event], what, RecordContexts(facts))[0]
        failure = self._look(resident, "an update validator", lambda of: of.problem_of(plain))
        return self._refused(event, facts, failure, what)

    def consult_new(
        self, workflow_id: str, run_id: str, events: list[Record], now_ms: int
    ) -> UpdateAnswer | None:
        """Why the code of a run that is yet to begin refuses the second event of it.

        The code is made for this alone, and let go of. Raises BlockedError when it cannot be asked.
        """
        if self.refusal:
            raise BlockedError("killer", self.refusal)
        what = f"the start of workflow {workflow_id!r}"
        facts = self._facts(workflow_id, run_id)
        started, event = self._incoming(events, what, RecordContexts(facts))
        assert isinstance(started, WorkflowStarted), "a run begins with WorkflowStarted"
        code = self._services.code
        coroutine = code.make(started, facts)
        try:
            with code.watching(workflow_id, started.workflow_type):
                coroutine.advance(started, seq=1, time_ms=now_ms)
                if not coroutine.has_instance or coroutine.is_ended:
                    raise BlockedError("error", f"workflow {workflow_id!r} ended as it was made")
                failure = coroutine.look("an update validator", lambda of: of.problem_of(event))
        except DeadlockError as error:
            raise BlockedError("deadlock", str(error)) from None
        finally:
            coroutine.close()
        return self._refused(event, facts, failure, what)

    def consult_kept(self, resident: CachedRun) -> None:
        """See that the code fits what a run that is yet to begin has of another's history.

        Raises BlockedError when it does not.
        """
        if self.refusal:
            raise BlockedError("killer", self.refusal)
        origin = resident.run.started.reset
        assert origin is not None, "a run that a reset makes says from whom"
        self.replay(resident, before_seq=origin.seq).close()

    def _refused(
        self, event: Record, facts: RunFacts, failure: Failure | None, what: str
    ) -> UpdateAnswer | None:
        if failure is None:
            return None
        answer = UpdateAnswer(
            update_id=getattr(event, "update_id", ""),
            run_id=facts.run_id,
            stage="rejected",
            failure=failure,
        )
        encoded = self._outgoing([answer], what, RecordContexts(facts))[0]
        assert isinstance(encoded, UpdateAnswer), "codecs change payloads, not records"
        assert encoded.failure is not None, "codecs change payloads, not records"
        return replace(encoded, failure=fit_failure(encoded.failure, FAILURE_BYTES_MAX))

    def _facts(self, workflow_id: str, run_id: str) -> RunFacts:
        namespace, task_queue = self._services.namespace, self._services.task_queue
        return RunFacts(namespace, task_queue, workflow_id, run_id)

    def query(self, resident: CachedRun, ask: QueryWorkflow) -> QueryAnswer:
        """What a query of the code returns, or why it does not.

        Raises BlockedError when the code cannot be asked.
        """
        what = f"query {ask.query_name!r} of workflow {ask.workflow_id!r}"
        state = resident.run.state
        contexts = RecordContexts(self._facts(state.workflow_id, state.run_id))
        plain = self._incoming([ask], what, contexts)[0]
        assert isinstance(plain, QueryWorkflow), "codecs change payloads, not records"
        found = self._look(
            resident,
            "a query handler",
            lambda of: of.answer(
                plain.query_name, plain.input, header=plain.header, id=plain.reply.correlation_id
            ),
        )
        answer = QueryAnswer(
            run_id=state.run_id,
            result=found if isinstance(found, Payload) else None,
            failure=found if isinstance(found, Failure) else None,
        )
        encoded = self._outgoing([answer], what, contexts)[0]
        assert isinstance(encoded, QueryAnswer), "codecs change payloads, not records"
        if encoded.failure is None:
            return encoded
        return replace(encoded, failure=fit_failure(encoded.failure, FAILURE_BYTES_MAX))

    def _look(self, resident: CachedRun, what: str, fn: Callable[[Messages], T]) -> T:
        """Ask the code for something as it stands; nothing of it is recorded.

        Code that does not answer in time is kept: it has done nothing but look.
        """
        if self.refusal:
            raise BlockedError("killer", self.refusal)
        state = resident.run.state
        coroutine = resident.coroutine
        if coroutine is None:
            coroutine = self.replay(resident, before_seq=state.seq + 1)
            if state.is_open:
                resident.coroutine = coroutine
        try:
            workflow_type = resident.run.started.workflow_type
            with self._services.code.watching(state.workflow_id, workflow_type):
                return coroutine.look(what, fn)
        except DeadlockError as error:
            raise BlockedError("deadlock", str(error)) from None
        finally:
            if not state.is_open:
                coroutine.close()

    def replay(self, resident: CachedRun, *, before_seq: int) -> Coroutine:
        """The code of a run, brought to where its history ends.

        Raises BlockedError when the code does not do what the history says it did.
        """
        try:
            return self._replayed(resident, before_seq, is_brief=True)
        except BlockedError as error:
            if error.cause != "nondeterminism":
                raise
        # Once more, now with all that is told of the step that does not fit.
        return self._replayed(resident, before_seq, is_brief=False)

    def _replayed(self, resident: CachedRun, before_seq: int, *, is_brief: bool) -> Coroutine:
        run = resident.run
        state = run.state
        facts = self._facts(state.workflow_id, state.run_id)
        coroutine = self._services.code.make(run.started, facts)
        contexts = coroutine.converters.contexts
        if before_seq <= 1:
            return coroutine
        self.replays += 1
        coroutine.is_brief = is_brief
        code, boundary = self._services.code, self._services.code.boundary
        read = _read_brief if is_brief and not boundary.is_contextual else decode
        size = 0
        try:
            kept = resident.inherited
            rows = history_of(self._table, state.run_id) if kept is None else iter(kept.rows)
            past = takewhile(lambda row: row[3].seq < before_seq, rows)
            while rows_read := list(islice(past, DECODED_AT_ONCE)):
                batches = [[read(data) for data in body.events] for _, _, _, body in rows_read]
                if boundary.has_codecs:
                    of = f"of workflow {state.workflow_id!r}"
                    named = [
                        (events, f"the events from {body.seq} on {of}")
                        for events, (_, _, _, body) in zip(batches, rows_read, strict=True)
                    ]
                    batches = self._incoming_batches(named, contexts)
                for events, (_, _, time_ms, body) in zip(batches, rows_read, strict=True):
                    self.replayed_events += len(events)
                    with code.watching(state.workflow_id):
                        coroutine.recall(events, seq=body.seq, time_ms=time_ms, history_bytes=size)
                    size += sum(map(len, body.events))
        except DeadlockError as error:
            coroutine.close()
            raise BlockedError("deadlock", str(error)) from None
        except BlockedError:
            coroutine.close()
            raise
        return coroutine

    def _incoming(self, records: list[Record], what: str, contexts: RecordContexts) -> list[Record]:
        """Recorded events as user code may read them. Raises BlockedError when they cannot be."""
        try:
            return self._services.code.boundary.incoming(records, what=what, contexts=contexts)
        except CodecError as error:
            raise _unopened(error) from error

    def _incoming_batches(
        self, batches: list[tuple[list[Record], str]], contexts: RecordContexts
    ) -> list[list[Record]]:
        """The same for several transitions at once, so that a replay waits once for all of them."""
        try:
            return self._services.code.boundary.incoming_batches(batches, contexts=contexts)
        except CodecError as error:
            raise _unopened(error) from error

    def _outgoing(self, records: list[Record], what: str, contexts: RecordContexts) -> list[Record]:
        """What the code asked for, as the log may hold it. Raises BlockedError when it cannot."""
        try:
            return self._services.code.boundary.outgoing(records, what=what, contexts=contexts)
        except CodecError as error:
            raise _unopened(error) from error

    def event_at(self, run_id: str, seq: int) -> Record | None:
        """An event of a run's history by its seq."""
        start, _ = table_layout.history_range(run_id)
        end = table_layout.history_key(run_id, seq + 1)
        for _, value in self._table.scan(start, end, reverse=True, limit=1):
            body = decode_as(TransitionBody, table_layout.unpack_history(value)[3])
            place = seq - body.seq
            return decode(body.events[place]) if 0 <= place < len(body.events) else None
        return None


def _unopened(error: CodecError) -> BlockedError:
    return BlockedError(
        "codec",
        f"{error}. Give this worker's client the payload codec, key or storage that wrote them;"
        " the run goes on by itself once it is there",
    )
