"""What a shard is given to work with: the log, the clock, the definitions, and its addresses."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from perdure_actors.partition.schema_framing import Framing
from perdure_actors.task_records import report_header
from perdure_schemas.commands import FailActivity
from perdure_schemas.payloads import Failure, FailureCause

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from random import Random

    from perdure_actors.core.decision import Limits
    from perdure_actors.definitions.payload_codecs import CodecBoundary
    from perdure_actors.partition.context import AttributeTypes
    from perdure_actors.partition.eager_mailbox import TaskMailbox
    from perdure_actors.partition.run_cache import RunMemory
    from perdure_actors.replay.coroutine import Coroutine, RunFacts
    from perdure_actors.trouble_log import TroubleLog
    from perdure_schemas.events import WorkflowStarted
    from perdure_schemas.payloads import Record, ReplyTo
    from perdure_schemas.tasks import ActivityTask
    from perdure_topics.engine_keys import EngineKeys
    from perdure_topics.ports import Clock, Headers, Log, TableStore, Tail


class Code(Protocol):
    """The workflow code of this process."""

    version: str
    boundary: CodecBoundary
    """What events go through on their way from the log to user code and back."""

    def make(self, started: WorkflowStarted, facts: RunFacts) -> Coroutine:
        """The code of a run. Raises BlockedError when its type is not registered."""

    def watching(self, label: str, workflow_type: str = "") -> AbstractContextManager[object]:
        """Watch user code while it runs, so that what does not yield is stopped."""

    def may_run(self, workflow_type: str) -> bool:
        """Whether code of a type that did not yield may be tried now."""

    def close(self) -> None:
        """Stop watching."""


class Answers(Protocol):
    """The way back to askers; soft, because they ask again."""

    def send(self, reply: ReplyTo, record: Record, partition: int, offset: int) -> None:
        """Send an answer of a partition, current to an events offset."""


class Seen(NamedTuple):
    """An accepted transition of a run, as it is shown."""

    workflow_id: str
    run_id: str
    seq: int
    """The seq of the first of its events."""
    time_ms: int
    events: list[Record]


class PartitionView(Protocol):
    """Looks at what one owner of a partition has accepted. It is quick, and raises nothing."""

    def see(self, view: object | None, seen: Seen, pseq: int = 0) -> object | None:
        """Show a transition, given the view of its run; the view after it.

        Without a pseq it is of the past: the view takes it in, and nothing is shown.
        """

    def took(self, seconds: float) -> None:
        """How long an accepted record was on its way."""

    def passed(self, pseq: int) -> None:
        """A record was accepted that has nothing to show."""

    def shown(self) -> int:
        """The pseq up to which everything has been shown, or given up."""

    def flush(self, timeout_s: float) -> None:
        """Wait so long for what is on its way, unless it gets nowhere."""


class Viewer(Protocol):
    """Who is shown what the shards of this process accept."""

    def open(self, partition: int, shown: int) -> PartitionView:
        """Look at a partition from now on; up to a pseq everything was shown before."""


class LocalRunner(Protocol):
    """Runs the attempts of local activities in this process."""

    def start(
        self, task: ActivityTask, headers: Headers, *, deliver: Callable[[Record], None]
    ) -> None:
        """Run an attempt; its one report is delivered, perhaps on another thread."""

    def stop(self, token: bytes, reason: str) -> None:
        """Ask an attempt to stop."""


class EagerWorker(Protocol):
    """The activity worker of this process, as shards hand tasks to it."""

    def offer(self, task: ActivityTask, headers: Headers, mailbox: TaskMailbox) -> bool:
        """Hand over a task for a free slot; False, and nothing happens, when there is none."""

    def flush(self) -> None:
        """Wake the worker for what was offered."""

    def settled(self, token: bytes) -> None:
        """An outcome is accepted, or nobody wants it: it need not go by the log."""

    def lose(self, mailbox: TaskMailbox, outcomes: list[bytes]) -> None:
        """An owner is no more: what it was told goes by the log, and so does all that follows."""


class NoLocalRunner:
    """What a host has that was given no activities."""

    def start(
        self, task: ActivityTask, headers: Headers, *, deliver: Callable[[Record], None]
    ) -> None:
        """Report that it cannot be run here."""
        cause = FailureCause(
            message=(
                f"local activity {task.activity_type} is not registered with the worker that hosts"
                " its workflow: give it to that worker's activities"
            ),
            type="NotFoundError",
            non_retryable=True,
        )
        deliver(
            FailActivity(
                **report_header(task),
                failure=Failure(chain=[cause]),
            )
        )

    def stop(self, token: bytes, reason: str) -> None:
        """Nothing runs."""


def run_now(call: Callable[[], Any]) -> Future[Any]:
    """Run a call here and now; what it returned or raised."""
    done: Future[Any] = Future()
    try:
        done.set_result(call())
    except Exception as error:
        done.set_exception(error)
    return done


def _nobody_waits() -> None:
    """Without a registry there is nothing to be told of."""


class Services(NamedTuple):
    """What all shards of a host share."""

    log: Log
    store: TableStore
    clock: Clock
    random: Random
    code: Code
    answers: Answers
    inputs: Tail
    namespace: str
    task_queue: str
    partitions: int
    commands_topic_id: str
    events_topic_id: str
    owner: str
    limits: Limits
    engine_keys: EngineKeys
    workers_of: Callable[[str], int | None]
    """How many workers listen on a task queue; None when that is not known."""
    types: AttributeTypes
    finding: Callable[[str, str], None]
    """Tell people of something they should know: a code and a sentence."""
    session_ms: int = 6_000
    checkpoint_every: int = 0
    """Transitions between table checkpoints; 0 for none."""
    checkpoints: str = ""
    """The directory of the table checkpoints."""
    log_checkpoint_bytes: int | None = None
    """How much the log grows between the checkpoints in it; 0 for none, None as the log asks."""
    memory: RunMemory | None = None
    """The room for runs that the shards share; each has its own without one."""
    viewer: Viewer | None = None
    local: LocalRunner = NoLocalRunner()
    eager: EagerWorker | None = None
    """The activity worker of this process, where tasks may go to it directly."""
    framing: Framing = Framing(None, _nobody_waits)
    """How commands are read: with a schema registry, or without."""
    trouble: TroubleLog | None = None
    """Where trouble of runs is told, where somebody listens."""
    run: Callable[[Callable[[], Any]], Future[Any]] = run_now
    """Runs what only waits for a disk; on other threads, where there are any."""
