"""One owned partition and the only loop there is: read, decide, append, accept, act.

The loop knows no feature's name: what a command, an event or a deadline means stands in
core/rules.py. Everything between `decide` and `accept` is speculation and stays inside. This is
where the parts are put together; none of them knows this module.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_actors.inherited_history import last_record
from perdure_actors.partition.checkpoints import TableUpkeep
from perdure_actors.partition.context import PartitionContext
from perdure_actors.partition.decide_command import CommandDecider
from perdure_actors.partition.doubt import Doubt
from perdure_actors.partition.eager_tasks import EagerTasks
from perdure_actors.partition.executor import Executor
from perdure_actors.partition.fence import AppendFailedError
from perdure_actors.partition.inbox import Inbox
from perdure_actors.partition.journal import Journal
from perdure_actors.partition.local_activities import LocalActivities
from perdure_actors.partition.observer import Observer
from perdure_actors.partition.outbox import (
    Address,
    Outbox,
    told_of_refusal,
)
from perdure_actors.partition.outbox_resend import OutboxResend, task_again
from perdure_actors.partition.pending_requests import PendingRequests
from perdure_actors.partition.queries import CodeQueries
from perdure_actors.partition.run_cache import RunCache
from perdure_actors.partition.timer_service import TimerQueue, TimerService
from perdure_actors.partition.transition import InFlight, PendingReplies, Transitions
from perdure_actors.partition.watermark import Watermark
from perdure_actors.retention.log_checkpoint import (
    EVERY_BYTES,
    EVERY_BYTES_ALONE,
    CheckpointWriter,
)
from perdure_actors.retention.policy import RetentionPolicy, policy_in
from perdure_actors.retention.retention import Retention
from perdure_topics.names import topic_name
from perdure_topics.ports import TableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.log_time import LogTime
    from perdure_actors.partition.services import Services
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_topics.ports import Appender, Table

PROGRESS_INPUTS = 1_000
PROGRESS_MS = 10_000
HOUSE_MS = 200
REST_HOUSE_MS = 1_500
"""Where nobody waits for an answer, an effect or an attempt; hosts come by at each full second."""


class PartitionProcessor:
    """A partition this process owns, from its accepted bump to its loss."""

    def __init__(
        self,
        services: Services,
        partition: int,
        table: Table,
        meta: table_layout.Meta,
        *,
        appender: Appender,
        on_ready: Callable[[], None],
        fence: Fence,
        log_time: LogTime,
    ) -> None:
        self.services, self.fence = services, fence
        self.task_queue, self.partition = services.task_queue, partition
        self.table, self.meta = table, meta
        self.counters: Counter[str] = Counter()
        self.owed = PendingReplies()
        self.run_cache = RunCache(table, services.memory)
        self.world = PartitionContext(
            self.run_cache,
            meta.cursor,
            log_time,
            limits=services.limits,
            task_queue=services.task_queue,
            engine_keys=services.engine_keys,
            types=services.types,
        )
        services.types.join(self.run_cache.attribute_type)
        self.timer_queue = TimerQueue(table)
        self.timer_queue.load()
        self.executor = Executor(services, table)
        self.observer = Observer(services, partition, table, meta, self.run_cache)
        self._let_out(appender, log_time, on_ready)
        self.checkpoint = self._checkpoints()
        self.upkeep = TableUpkeep(table, self.journal, services.checkpoint_every)
        watermark = self._take_in()
        self._take_reports(watermark, on_ready)
        self._house_at_ms = 0

    def _let_out(self, appender: Appender, log_time: LogTime, on_ready: Callable[[], None]) -> None:
        """The parts by which something leaves: records, and the effects of accepted ones."""
        services, partition, fence = self.services, self.partition, self.fence
        table, meta = self.table, self.meta
        self.outbox = Outbox(
            services.log,
            Address(services.namespace, services.task_queue, partition, services.events_topic_id),
            dispatched=max(meta.dispatched, meta.cursor.dispatched),
            token=self.world.token,
            answer=self.answer,
            again=partial(task_again, self.world),
            on_ready=on_ready,
            tell=partial(fence.tell, services, "effect_parked"),
            refused=partial(told_of_refusal, self.world),
            seal=services.engine_keys.seal,
        )
        self._resend = OutboxResend(table, self.world, self.outbox)
        self.journal: Journal[InFlight] = Journal(
            appender,
            (topic_name("events", services.namespace, services.task_queue), partition),
            table,
            meta,
            log_time=log_time,
            entry=InFlight,
            sent=self.outbox,
            shown=self.observer,
        )
        self.run_cache.ahead = self.journal.rows_ahead
        self.world.is_sent = lambda run_id: last_record(table, run_id) <= self.outbox.dispatched
        self._transitions = Transitions(
            self.journal,
            self.world,
            self.run_cache,
            self.executor,
            owed=self.owed,
            fence=fence,
            outbox=self.outbox,
            observer=self.observer,
        )
        self.doubt = Doubt(
            meta,
            services.clock,
            bumps=meta.cursor.bumps,
            marks=self._transitions,
            code=self.executor,
            put_off=fence.put_off,
        )

    def _take_in(self) -> Watermark:
        """The parts by which something comes in: inputs, and deadlines."""
        self.retention = self._keep_time()
        services, partition, table, fence = self.services, self.partition, self.table, self.fence
        world, run_cache, executor = self.world, self.run_cache, self.executor
        transitions, doubt, counters = self._transitions, self.doubt, self.counters
        decider = CommandDecider(world, run_cache, executor, transitions)
        code_queries = CodeQueries(world, run_cache, executor, transitions)
        self.requests = PendingRequests(
            services,
            partition,
            table,
            journal=self.journal,
            world=world,
            run_cache=run_cache,
            executor=executor,
            code=code_queries,
            fence=fence,
            missing=self.outbox.missing,
            answer=self.answer,
        )
        place = (topic_name("commands", services.namespace, services.task_queue), partition)
        inputs, queue = services.inputs, self.timer_queue
        watermark = Watermark(
            inputs, place, self.journal, time=world, deadlines=queue, finding=services.finding
        )
        self.inbox = Inbox(
            services,
            place,
            table,
            journal=self.journal,
            world=world,
            executor=executor,
            transitions=transitions,
            decider=decider,
            owed=self.owed,
            requests=self.requests,
            code_queries=code_queries,
            watermark=watermark,
            doubt=doubt,
            fence=fence,
            counters=counters,
            retention=self.retention,
        )
        self.timers = TimerService(
            services,
            partition,
            table,
            world=world,
            run_cache=run_cache,
            executor=executor,
            transitions=transitions,
            queue=self.timer_queue,
            watermark=watermark,
            doubt=doubt,
            fence=fence,
            counters=counters,
        )
        return watermark

    def _checkpoints(self) -> CheckpointWriter:
        """Written only where the log may be cut below them: a log that is whole needs none."""
        is_alone, given = self.services.log.has_one_copy, self.services.log_checkpoint_bytes

        def is_wanted() -> bool:
            policy = policy_in(self.table) or RetentionPolicy()
            return given is not None or policy.cuts(is_alone=is_alone)

        every = EVERY_BYTES_ALONE if is_alone else EVERY_BYTES
        return CheckpointWriter(
            self.table,
            self.journal,
            self._transitions,
            every=every if given is None else given,
            share=1 if is_alone else 2,
            is_wanted=is_wanted,
        )

    def _keep_time(self) -> Retention:
        return Retention(
            self.table,
            runs=self.run_cache,
            proposes=self._transitions,
            position=self.journal,
            sent=self.outbox,
            unsaid=RetentionPolicy(self.world.limits.closed_keep_ms),
        )

    def _take_reports(self, watermark: Watermark, on_ready: Callable[[], None]) -> None:
        """The parts by which attempts report that run in this process."""
        services, partition, world, fence = self.services, self.partition, self.world, self.fence
        transitions, doubt, counters = self._transitions, self.doubt, self.counters
        self.local_activities = LocalActivities(
            services,
            partition,
            world,
            transitions,
            doubt=doubt,
            fence=fence,
            counters=counters,
            on_ready=on_ready,
        )
        self.eager = EagerTasks(
            services,
            partition,
            world,
            transitions,
            self.outbox,
            doubt=doubt,
            fence=fence,
            counters=counters,
            on_ready=on_ready,
        )
        self.outbox.eager = self.eager.take_over
        watermark.is_behind = self.eager.has_word

    # -- the turn --

    def step(self) -> int | None:
        """One turn; when the next is due at the latest, in ms from now (None: at any news).

        Raises AppendFailedError when the shard must be taken over again, TableFullError when
        the disk is full, and UnreadableRecordError for a record that no reader may skip.
        """
        self.run_cache.begin_turn()
        try:
            return self._take_turn()
        finally:
            self.run_cache.end_turn()

    def _take_turn(self) -> int | None:
        world, timers = self.world, self.timers
        world.now_ms()
        self._accept()
        busy = self.checkpoint.step(world.mono_ms)
        self.eager.flush()
        self.outbox.step()
        now_ms = world.now_ms()
        busy |= self.local_activities.take(now_ms)
        busy |= self.eager.take(now_ms)
        busy |= self.inbox.take()
        timers.keep_house(now_ms)
        busy |= timers.fire(now_ms)
        busy |= self.retention.step(now_ms)
        timers.resume()
        self._keep_house(now_ms)
        self._cover()
        self.upkeep.step(world.mono_ms)
        if busy or timers.is_busy:
            return 0
        if self.upkeep.is_reading:
            return 1
        due_ms = self.timer_queue.next_ms()
        house_ms = REST_HOUSE_MS if self._rests else HOUSE_MS
        wait_ms = self.inbox.wait_ms(max(0, self._house_at_ms + house_ms - now_ms))
        return wait_ms if due_ms is None else max(0, min(wait_ms, due_ms - now_ms))

    @property
    def _rests(self) -> bool:
        """Whether nobody notices that house is kept less often."""
        is_waited_for = self.requests.is_waited_for or self.world.liveness.holds_attempts
        return self.outbox.is_idle and not self.journal.in_flight and not is_waited_for

    def _keep_house(self, now_ms: int) -> None:
        """Every now and then: waiting effects, word to those who wait, old request ids."""
        self.inbox.look(now_ms)
        if now_ms - self._house_at_ms < HOUSE_MS:
            return
        self._house_at_ms = now_ms
        self.outbox.retry_waiting()
        self.inbox.keep_house(now_ms)
        self.requests.keep_house()
        self._resend.keep_house(now_ms)
        if not self.journal.in_flight:
            self.run_cache.forgotten()

    # -- accept and act --

    def _accept(self) -> None:
        """What the log has acknowledged is in the table; let out what follows from it."""
        for accepted in self.journal.accept():
            self._act(accepted)

    def _act(self, entry: InFlight) -> None:
        """What an accepted record lets out: effects, answers, and word to those who wait."""
        envelope, fence, requests = entry.envelope, self.fence, self.requests
        fence.let_out(self.services, self.observer.accepted, entry)
        if entry.resident is not None:
            entry.resident.pinned -= 1
            requests.moved(entry.resident.run.state.run_id)
        for alarm in entry.alarms:
            self.timer_queue.add(alarm)
        self.eager.accepted(entry)
        if envelope.part == envelope.parts:
            # Parts without the last may be dropped, and their pseqs given to others.
            self.outbox.send(entry.first_pseq, entry.effects, epoch=envelope.epoch)
            self.local_activities.act(entry.effects)
        if entry.owed is not None:
            for reply, record in entry.owed.answers:
                self.answer(reply, record)
            for reply, run_id, update_id in entry.owed.waits:
                fence.let_out(self.services, requests.wait, reply, run_id, update_id)
        requests.happened(entry.run_id, entry.events)
        if entry.closed is not None:
            requests.closed(entry.closed)

    def answer(self, reply: ReplyTo, record: Record) -> None:
        """Send an answer; only what is accepted may be in it."""
        self.services.answers.send(reply, record, self.partition, self.meta.offset)

    # -- inputs that change nothing --

    def _cover(self) -> None:
        """Append a Progress when an answer waits for one, or enough has gone uncovered."""
        uncovered, in_flight = self.journal.uncovered, self.journal.in_flight
        asks = self.world.log_time.should_ask() and not in_flight
        if uncovered <= 0 and not self.observer.owes_word and not asks:
            return
        late = self.world.mono_ms - self.journal.covered_at_ms >= PROGRESS_MS
        soon = self.owed or self.requests.reads_wait or uncovered >= PROGRESS_INPUTS
        if late or asks or (soon and uncovered > 0):
            self._transitions.propose(None, covers=True)

    def recover(self) -> None:
        """After a take-over: send again what may not have gone out; let blocked runs try."""
        self._resend.resend_unacknowledged(self.journal.cursor)
        for key, _ in self.table.scan(*table_layout.prefix_range(table_layout.BLOCKED)):
            self.timers.try_again(key[1:].decode())
        self.local_activities.recover(self.table)

    def close(self, *, flush_s: float = 0.0) -> None:
        """Let go: flush for so long, then close; what is not accepted is the next owner's."""
        self.eager.end()
        try:
            self._let_go(flush_s)
        finally:
            self.eager.close()

    def _let_go(self, flush_s: float) -> None:
        self.services.types.leave(self.run_cache.attribute_type)
        self.observer.flush(flush_s)
        if flush_s and self.observer.owes_word:
            with contextlib.suppress(AppendFailedError):
                self._transitions.propose(None, covers=True)
        self.local_activities.close()
        self.journal.close(flush_s=flush_s)
        if flush_s:
            with contextlib.suppress(AppendFailedError, TableError):
                self._accept()
        self.outbox.close(flush_s=flush_s)
        self.checkpoint.close()
        self.upkeep.stop()
        self.run_cache.clear()
