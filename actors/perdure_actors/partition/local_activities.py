"""The local activities of one shard: run by this host once they are accepted, reported within it.

Reports come through a mailbox instead of the log, so they cover no input, as deadlines do not. An
attempt whose host is gone counts as lost: nobody can know how far it came.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from perdure_actors import table_layout
from perdure_actors.core.deadlines import decide_local_lost
from perdure_actors.core.decision import Decision, Due, RunLocal, StopLocal
from perdure_actors.partition.decide_command import decide
from perdure_actors.partition.doubt import Trial
from perdure_actors.partition.fence import LOCAL_REPORT, reason_of
from perdure_actors.task_records import Home, task_record, trace_headers
from perdure_topics.names import topic_name

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from perdure_actors.core.decision import Effect
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.doubt import Doubt
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import Transitions
    from perdure_schemas.command_headers import AttemptReport
    from perdure_topics.ports import Table

REPORTS_A_TURN = 256


class LocalActivities:
    """The local activities of one incarnation of an owner."""

    def __init__(
        self,
        services: Services,
        partition: int,
        world: PartitionContext,
        transitions: Transitions,
        *,
        doubt: Doubt,
        fence: Fence,
        counters: Counter[str],
        on_ready: Callable[[], None],
    ) -> None:
        self._services = services
        self._world = world
        self._transitions = transitions
        self._doubt = doubt
        self._fence = fence
        self._counters = counters
        self._on_ready = on_ready
        commands = topic_name("commands", services.namespace, services.task_queue)
        self._home = Home(services.namespace, commands, partition)
        self._running: set[bytes] = set()
        self._is_closed = False
        self._lost: deque[tuple[str, str]] = deque()
        # Filled from the threads that run them; a deque's ends may be used by two at once.
        self._mail: deque[tuple[bytes, AttemptReport]] = deque()

    def act(self, effects: list[Effect]) -> None:
        """Start and stop what is local among accepted effects."""
        for effect in effects:
            if isinstance(effect, RunLocal):
                try:
                    self._start(effect)
                except Exception as error:
                    # It was not begun: counted as an attempt that its host lost.
                    self._lost.append((effect.run_id, effect.activity.scheduled.activity_id))
                    text = f"a local activity could not be started: {reason_of(error)}"
                    self._fence.tell(self._services, "report_failed", text, error)
            elif isinstance(effect, StopLocal):
                self._stop(self._world.token(effect.issued), effect.reason)

    def _start(self, effect: RunLocal) -> None:
        if self._is_closed:
            # The next owner counts it as lost.
            return
        token = self._world.token(effect.activity.issued)
        task = task_record(effect, token=token, home=self._home)
        self._running.add(token)
        self._services.local.start(
            task, trace_headers(effect), deliver=partial(self._deliver, token)
        )

    def _stop(self, token: bytes, reason: str) -> None:
        if token in self._running:
            self._services.local.stop(token, reason)

    def _deliver(self, token: bytes, report: AttemptReport) -> None:
        """Take a report; on any thread."""
        self._mail.append((token, report))
        self._on_ready()

    def take(self, now_ms: int) -> bool:
        """Decide what was reported or lost, as far as there is room; whether there is more."""
        transitions, doubt = self._transitions, self._doubt
        for _ in range(REPORTS_A_TURN):
            if not transitions.has_room or not (self._mail or self._lost):
                break
            if not doubt.clears(self._trial()):
                return False
            if self._mail:
                token, report = self._mail.popleft()
                self._running.discard(token)
                self._attempt(self._decide, report, now_ms)
            else:
                self._attempt(self._lose, self._lost.popleft(), now_ms)
            doubt.over()
        return transitions.has_room and bool(self._mail or self._lost)

    def _trial(self) -> Trial:
        """What is taken next, as what may kill its host."""
        if not self._mail:
            return Trial("the lost local activity", *self._lost[0])
        report = self._mail[0][1]
        return Trial("the local activity", report.run_id, report.activity_id)

    def _attempt(self, act: Callable[[Any, int], None], what: Any, now_ms: int) -> None:
        """Take word of an attempt; one that cannot be decided is left to its timeouts."""
        with self._fence.attempt(LOCAL_REPORT, type(what).__name__) as attempt:
            act(what, now_ms)
        error = attempt.error
        if error is not None:
            text = f"word of a local activity cannot be taken: {reason_of(error)}"
            self._fence.tell(self._services, "report_failed", text, error)

    def _decide(self, report: AttemptReport, now_ms: int) -> None:
        verdict = decide(self._world, report, now_ms)
        if not isinstance(verdict, Decision):
            self._counters["ignored: a local attempt that nobody waits for"] += 1
            return
        for step in verdict.steps:
            self._transitions.propose(step, report.workflow_id, covers=False)

    def _lose(self, lost: tuple[str, str], now_ms: int) -> None:
        run_id, activity_id = lost
        run = self._world.run(run_id)
        due = decide_local_lost(run, activity_id, now_ms) if run is not None else None
        if run is not None and isinstance(due, Due):
            self._transitions.propose_events(run, due.events)

    def recover(self, table: Table) -> None:
        """After a take-over: what was under way is lost."""
        for key, value in table.scan(*table_layout.prefix_range(table_layout.ACTIVITIES)):
            activity = table_layout.decode_activity(value)
            if activity.scheduled.local and activity.state == "scheduled":
                self._lost.append(
                    (table_layout.run_of_activity(key), activity.scheduled.activity_id)
                )

    def close(self) -> None:
        """Stop what runs: its word counts no more."""
        self._is_closed = True
        for token in self._running:
            self._services.local.stop(token, "worker_shutdown")
        self._running.clear()
        self._mail.clear()
        self._lost.clear()
