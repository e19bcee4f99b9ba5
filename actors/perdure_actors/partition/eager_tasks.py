"""Accepted tasks that go to the activity worker of this process, and their outcomes' way back.

`dispatched` passes a record with such a task only once the accepted state would not send it again:
its outcome is accepted, or that a worker has it; or once it was appended and acknowledged after
all. What an owner that is no more was told goes by the log, as does all that follows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core.decision import Decision, SendTask
from perdure_actors.partition.decide_command import decide
from perdure_actors.partition.eager_mailbox import TaskMailbox
from perdure_actors.partition.fence import reason_of
from perdure_actors.task_records import Home, task_record, trace_headers
from perdure_topics.names import topic_name

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from perdure_actors.core.state import RecordId
    from perdure_actors.partition.context import PartitionContext
    from perdure_actors.partition.doubt import Doubt
    from perdure_actors.partition.fence import Fence
    from perdure_actors.partition.outbox import Held, Outbox
    from perdure_actors.partition.services import Services
    from perdure_actors.partition.transition import InFlight, Transitions
    from perdure_schemas.command_headers import AttemptReport

OUTCOME: Final = "outcome of an eager activity"
OPEN_MAX = 2_000
"""Tasks of a partition that are handed over and hold its `dispatched` back."""
TURN_MS = 20
OUTCOMES_AT_ONCE = 16
_UNTOUCHED: Final = b"\0untouched"


class _Open(NamedTuple):
    """A task that is handed over and holds `dispatched` back."""

    held: Held
    run_id: str
    activity_id: str
    issued: RecordId


class EagerTasks:
    """The tasks that one owner of a partition has handed to the worker of its process."""

    def __init__(
        self,
        services: Services,
        partition: int,
        world: PartitionContext,
        transitions: Transitions,
        outbox: Outbox,
        *,
        doubt: Doubt,
        fence: Fence,
        counters: Counter[str],
        on_ready: Callable[[], None],
    ) -> None:
        self._services = services
        self._world = world
        self._transitions = transitions
        self._outbox = outbox
        self._doubt = doubt
        self._fence = fence
        self._counters = counters
        self._worker = services.eager
        self.mailbox = TaskMailbox(on_ready)
        commands = topic_name("commands", services.namespace, services.task_queue)
        self._home = Home(services.namespace, commands, partition)
        self._open: dict[bytes, _Open] = {}
        self._of_run: dict[str, set[bytes]] = {}
        self._decided: deque[tuple[InFlight, bytes]] = deque()
        """Outcomes that are decided on, with the records that are to be accepted."""
        self._left: list[bytes] = []
        """Of what was left when the mailbox closed."""

    # -- out --

    def take_over(self, held: Held) -> bool:
        """Hand an accepted task to the worker of this process; False: it goes by the topic."""
        worker, effect = self._worker, held.effect
        if worker is None or not isinstance(effect, SendTask) or not self._may(effect):
            return False
        issued = effect.activity.issued
        token = self._world.token(issued)
        task = task_record(effect, token=token, home=self._home)
        # First, because its outcome may come at once.
        run_id, activity_id = task.run_id, task.activity_id
        self._open[token] = _Open(held, run_id, activity_id, issued)
        self._of_run.setdefault(run_id, set()).add(token)
        if not worker.offer(task, trace_headers(effect), self.mailbox):
            self._forget(token)
            return False
        self._counters["tasks handed over in the process"] += 1
        return True

    def _may(self, effect: SendTask) -> bool:
        """Whether a task may go past the log at all.

        Not one that may be running elsewhere, nor one that must be claimed first; not a retry,
        which another process may serve better; and nothing where hosts have died.
        """
        activity = effect.activity
        scheduled = activity.scheduled
        policy = scheduled.retry_policy
        return not (
            effect.resent
            or effect.moved
            or activity.attempt > 1
            or scheduled.disable_eager_execution
            or scheduled.task_queue != self._services.task_queue
            or (policy is not None and policy.maximum_attempts == 1)
            or self._doubt.is_on
            or self.mailbox.is_closed
            or len(self._open) >= OPEN_MAX
        )

    def flush(self) -> None:
        """Wake the worker for what was handed over: once a turn."""
        if self._open and self._worker is not None:
            self._worker.flush()

    # -- accepted --

    def accepted(self, pending: InFlight) -> None:
        """Let `dispatched` pass what an accepted record makes needless to send again."""
        while self._decided and self._decided[0][0] is pending:
            self._settle(self._decided.popleft()[1])
        tokens = self._of_run.get(pending.run_id)
        if tokens is None:
            return
        for token in list(tokens):
            task = self._open[token]
            key = table_layout.activity_key(task.run_id, task.activity_id)
            row = pending.ops.get(key, _UNTOUCHED)
            if row is not _UNTOUCHED and not _sends_again(row, task.issued):
                self._forget(token)
                self._outbox.release(task.held)

    def _forget(self, token: bytes) -> None:
        task = self._open.pop(token)
        tokens = self._of_run[task.run_id]
        tokens.discard(token)
        if not tokens:
            del self._of_run[task.run_id]

    def _settle(self, token: bytes) -> None:
        if self._worker is not None:
            self._worker.settled(token)

    # -- in --

    def has_word(self) -> bool:
        """Whether outcomes wait to be decided on, which a deadline must not overtake."""
        return len(self.mailbox) > 0

    def take(self, now_ms: int) -> bool:
        """Decide on what was left, as far as there is room; whether there is more."""
        transitions, mailbox = self._transitions, self.mailbox
        if not mailbox:
            return False
        clock = self._services.clock
        over_ms = clock.monotonic_ms() + TURN_MS
        number = 0
        while (letter := mailbox.first()) is not None:
            number += 1
            if not transitions.has_room:
                return False
            if number % OUTCOMES_AT_ONCE == 0 and clock.monotonic_ms() >= over_ms:
                return True
            if letter.outcome is None:
                self._send_by_topic(letter.token)
            else:
                self._take_outcome(letter.token, letter.outcome, now_ms)
            mailbox.done()
        return False

    def _send_by_topic(self, token: bytes) -> None:
        """Append a task that the worker declined; one that nobody needs any more is let go of."""
        task = self._open.get(token)
        if task is not None:
            self._forget(token)
            self._outbox.send_by_topic(task.held)

    def _take_outcome(self, token: bytes, outcome: AttemptReport, now_ms: int) -> None:
        """Decide on an outcome; one that cannot be goes by the log, where inputs are set aside."""
        key = type(outcome).__name__
        with self._fence.attempt(OUTCOME, key) as attempt:
            self._decide(token, outcome, now_ms)
        error = attempt.error
        if error is not None:
            text = f"an outcome cannot be taken, and goes by the log: {reason_of(error)}"
            self._fence.tell(self._services, "report_failed", text, error)
            self._give_back([token])

    def _decide(self, token: bytes, outcome: AttemptReport, now_ms: int) -> None:
        verdict = decide(self._world, outcome, now_ms)
        if not isinstance(verdict, Decision) or not verdict.steps:
            self._counters["ignored: an attempt that nobody waits for"] += 1
            # What made it needless may not be accepted: then somebody does wait for it.
            last = self._transitions.last
            if last is None:
                self._settle(token)
            else:
                self._decided.append((last, token))
            return
        for step in verdict.steps:
            entry = self._transitions.propose(step, outcome.workflow_id, covers=False)
        self._decided.append((entry, token))

    # -- the end --

    def _give_back(self, tokens: list[bytes]) -> None:
        """Let the worker send by the log what it said here."""
        if self._worker is not None:
            self._worker.lose(self.mailbox, tokens)

    def end(self) -> None:
        """Take nothing more: what workers say from now on goes by the log."""
        letters = self.mailbox.close()
        self._left = [letter.token for letter in letters if letter.outcome is not None]

    def close(self) -> None:
        """Give back what was said and is not accepted, and all that is still under way."""
        if not self.mailbox.is_closed:
            self.end()
        tokens = [token for _, token in self._decided] + self._left
        if self._open or tokens:
            self._give_back(tokens)
        self._decided.clear()
        self._open.clear()
        self._of_run.clear()


def _sends_again(row: bytes | None, issued: RecordId) -> bool:
    """Whether a take-over would send the task of an attempt again, by its accepted row."""
    if row is None:
        return False
    activity = table_layout.decode_activity(row)
    return activity.state == "scheduled" and activity.issued == issued
