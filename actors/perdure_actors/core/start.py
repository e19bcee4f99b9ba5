"""The beginning of a run: starts, by their policies, and what a run is when it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from perdure_actors.core import cron
from perdure_actors.core.decision import Decision, Rejection, Step
from perdure_actors.core.markers import too_large
from perdure_actors.core.search_attribute_types import mistyped
from perdure_actors.core.state import COMPLETED, RUNNING, ActorState, Run, RunState
from perdure_actors.core.timers import TIMER_MS_MAX
from perdure_schemas.bounds import NAME_CHARS_MAX
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.events import WorkflowStarted, WorkflowTerminated
from perdure_schemas.replies import Accepted

if TYPE_CHECKING:
    from perdure_actors.core.decision import Verdict
    from perdure_actors.core.world import RunView, World
    from perdure_schemas.child_events import ChildWorkflowInitiated, ExternalStartInitiated

WORKFLOW_ID_BYTES_MAX = 1000


_REUSE: Final = (
    *("allow_duplicate", "allow_duplicate_failed_only", "reject_duplicate"),
    "terminate_if_running",
)
_CONFLICT: Final = ("fail", "use_existing", "terminate_existing")
_PARENT_CLOSE: Final = ("terminate", "abandon", "request_cancel")
_DEFAULT: Final = ("", "unspecified")


def decide_start(world: World, command: StartWorkflow, now_ms: int) -> Verdict:
    """A start: by its policies it makes a run, finds one, replaces one or is refused."""
    problem = (
        _invalid_start(command)
        or too_large(world, command.memo, command.search_attributes)
        or mistyped(world, command.search_attributes)
    )
    if problem:
        return Rejection("invalid", problem)
    current = world.current(command.workflow_id)
    run_id = world.new_run_id()
    started = Step(run_id, [_started(world, command, run_id, now_ms)])
    answer = Accepted(
        workflow_id=command.workflow_id, run_id=run_id, first_run_id=run_id, started=True
    )
    if current is None:
        return Decision([started], answer, run_id)
    if current.state.is_open or current.actor.next_run_id:
        return _start_over_open(command, current, started, answer)
    reuse, status = command.id_reuse_policy, current.state.status
    refused = reuse == "reject_duplicate" or (
        reuse == "allow_duplicate_failed_only" and status == COMPLETED
    )
    if refused:
        return Rejection(
            "already_started",
            f"workflow id {command.workflow_id!r} has a run that is {status}, and the id reuse"
            f" policy is {reuse}",
            current.state.run_id,
            status,
        )
    return Decision([started], answer, run_id)


def _start_over_open(
    command: StartWorkflow, current: RunView, started: Step, answer: Accepted
) -> Verdict:
    """A start while a run of the id is open, or is to follow soon."""
    state = current.state
    open_id = state.run_id if state.is_open else current.actor.next_run_id
    first_id = state.first_run_id or state.run_id
    if command.id_conflict_policy == "use_existing":
        found = Accepted(workflow_id=state.workflow_id, run_id=open_id, first_run_id=first_id)
        return Decision([], found, open_id)
    replaces = command.id_conflict_policy == "terminate_existing"
    if replaces or command.id_reuse_policy == "terminate_if_running":
        ended = WorkflowTerminated(reason="replaced by a new start", identity=command.identity)
        return Decision([*terminating(current, ended), started], answer, answer.run_id)
    return Rejection(
        "already_started",
        f"workflow id {command.workflow_id!r} is already running",
        open_id,
        state.shown_status if state.is_open else RUNNING,
    )


def _invalid_start(command: StartWorkflow) -> str:
    size = len(command.workflow_id.encode())
    if not 0 < size <= WORKFLOW_ID_BYTES_MAX:
        return f"a workflow id has 1 to {WORKFLOW_ID_BYTES_MAX} bytes; this one has {size}"
    if not command.workflow_id.isprintable():
        return f"workflow id {command.workflow_id[:60]!r} holds a character that cannot be printed"
    if not command.workflow_type:
        return f"the start of workflow {command.workflow_id!r} names no workflow type"
    if len(command.workflow_type) > NAME_CHARS_MAX:
        return (
            f"a workflow type has 1 to {NAME_CHARS_MAX} characters; the one of workflow"
            f" {command.workflow_id!r} has {len(command.workflow_type)}"
        )
    for name, word, words in (
        ("id_reuse_policy", command.id_reuse_policy, _REUSE),
        ("id_conflict_policy", command.id_conflict_policy, _CONFLICT),
        ("parent_close_policy", command.parent_close_policy, _PARENT_CLOSE),
    ):
        if word not in words and word not in _DEFAULT:
            return f"{name} is {word[:60]!r}: give one of {', '.join(words)}"
    times = {
        "execution_timeout_ms": command.execution_timeout_ms,
        "run_timeout_ms": command.run_timeout_ms,
        "task_timeout_ms": command.task_timeout_ms,
        "start_delay_ms": command.start_delay_ms,
    }
    for name, time_ms in times.items():
        if not 0 <= time_ms <= TIMER_MS_MAX:
            return f"{name} is {time_ms}: give 0 to {TIMER_MS_MAX} (100 years)"
    if command.cron_schedule and command.start_delay_ms:
        return "start_delay cannot be given with a cron schedule: that says when the first run is"
    if command.cron_schedule and (problem := cron.problem_of(command.cron_schedule)):
        return problem
    return ""


def _started(world: World, command: StartWorkflow, run_id: str, now_ms: int) -> WorkflowStarted:
    delay_ms = command.start_delay_ms
    if command.cron_schedule:
        delay_ms = cron.next_due_ms(command.cron_schedule, now_ms, began_ms=now_ms) - now_ms
    timeout_ms = command.execution_timeout_ms
    expires_ms = now_ms + delay_ms + timeout_ms if timeout_ms else 0
    return WorkflowStarted(
        workflow_type=command.workflow_type,
        input=command.input,
        task_queue=world.task_queue,
        request_id=command.request_id,
        identity=command.identity,
        execution_timeout_ms=command.execution_timeout_ms,
        run_timeout_ms=command.run_timeout_ms,
        task_timeout_ms=command.task_timeout_ms,
        execution_expires_ms=expires_ms,
        retry_policy=command.retry_policy,
        cron_schedule=command.cron_schedule,
        first_activation_delay_ms=delay_ms,
        memo=command.memo,
        search_attributes=command.search_attributes,
        header=command.header,
        static_summary=command.static_summary,
        static_details=command.static_details,
        priority=command.priority,
        parent=command.parent,
        parent_initiated_seq=command.parent_initiated_seq,
        root=command.root,
        parent_close_policy=command.parent_close_policy,
        child_id=command.child_id,
        external=command.external,
        last_result=command.last_result,
        last_failure=command.last_failure,
        first_run_id=run_id,
        original_run_id=run_id,
        signals=[*world.buffers.signals(command.workflow_id), *command.signals],
    )


def start_command(
    run: RunView, event: ChildWorkflowInitiated | ExternalStartInitiated
) -> StartWorkflow:
    """The command by which a run starts another workflow, as its code asked for it."""
    me = run.ref()
    return StartWorkflow(
        workflow_id=event.workflow_id,
        workflow_type=event.workflow_type,
        input=event.input,
        header=event.header,
        identity=f"{me.workflow_id}/{me.run_id}",
        id_reuse_policy=event.id_reuse_policy,
        execution_timeout_ms=event.execution_timeout_ms,
        run_timeout_ms=event.run_timeout_ms,
        task_timeout_ms=event.task_timeout_ms,
        retry_policy=event.retry_policy,
        cron_schedule=event.cron_schedule,
        memo=event.memo,
        search_attributes=event.search_attributes,
        static_summary=event.static_summary,
        static_details=event.static_details,
        priority=event.priority,
    )


def terminating(current: RunView, ended: WorkflowTerminated) -> list[Step]:
    """The steps that end a run, or the one that is to follow it."""
    if current.state.is_open:
        return [Step(current.state.run_id, [ended])]
    step = held_next(current)
    step.events.append(ended)
    return [step]


def held_next(current: RunView) -> Step:
    """The run that is to follow begins, held back so that its code never runs."""
    following = current.actor.next_start
    assert following is not None, "a run that is to follow has what it starts with"
    return Step(current.actor.next_run_id, [replace(following, first_activation_delay_ms=1)])


def starting_now(current: RunView, now_ms: int) -> Step:
    """The run that is to follow, started before its time; its delay goes on holding it back."""
    following = current.actor.next_start
    assert following is not None, "a run that is to follow has what it starts with"
    due_ms = current.actor.alarm_ms + following.first_activation_delay_ms
    rest_ms = max(0, due_ms - now_ms)
    return Step(current.actor.next_run_id, [replace(following, first_activation_delay_ms=rest_ms)])


def open_run(actor: ActorState, run_id: str, event: WorkflowStarted, now_ms: int) -> Run:
    """The run that a WorkflowStarted event begins."""
    delay_ms = event.first_activation_delay_ms
    # What holds a run back does not count as its running time.
    run_expires_ms = now_ms + delay_ms + event.run_timeout_ms if event.run_timeout_ms else 0
    begin_ms = now_ms + delay_ms if delay_ms else 0
    state = RunState(
        workflow_id=actor.workflow_id,
        run_id=run_id,
        status=RUNNING,
        start_ms=now_ms,
        begun=not begin_ms,
        execution_expires_ms=event.execution_expires_ms,
        run_expires_ms=run_expires_ms,
        begin_ms=begin_ms,
        first_run_id=event.first_run_id,
    )
    set_run_alarm(state)
    actor.current_run_id = run_id
    actor.next_run_id = ""
    actor.next_start = None
    actor.alarm_ms = 0
    return Run(state, event, actor)


def set_run_alarm(state: RunState) -> None:
    """Set a run's own next deadline: its start delay, or one of its timeouts."""
    times = (state.execution_expires_ms, state.run_expires_ms, state.begin_ms)
    state.alarm_ms = min((at for at in times if at), default=0)
