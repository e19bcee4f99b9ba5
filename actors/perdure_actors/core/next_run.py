"""The run that follows another: by a retry policy, by a cron schedule, or when its time comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from perdure_actors.core import cron, retry
from perdure_actors.core.child_reports import REPORT_BYTES_MAX
from perdure_actors.core.decision import Later, Step
from perdure_actors.core.markers import carried_attributes
from perdure_actors.core.state import Run
from perdure_schemas.bounds import fit_failure
from perdure_schemas.events import WorkflowCompleted, WorkflowFailed, WorkflowTimedOut
from perdure_schemas.payloads import Failure, FailureCause, Payload

if TYPE_CHECKING:
    from perdure_actors.core.world import ActorView, RunView, World


def decide_completed(
    world: World, run: RunView, output: WorkflowCompleted, now_ms: int
) -> WorkflowCompleted | WorkflowFailed:
    """A run that returned; a result too large to be answered fails it, plainly."""
    size = len(output.result.data) if output.result else 0
    most = world.limits.result_bytes_max
    if run.started.parent is not None:
        most = min(most, REPORT_BYTES_MAX)
    if size <= most:
        delay_ms = _cron_delay_ms(run, now_ms)
        if delay_ms < 0:
            return output
        return replace(output, next_run_id=world.new_run_id(), next_run_delay_ms=delay_ms)
    cause = FailureCause(
        message=(
            f"the workflow returned {size} bytes; {most} is the most:"
            " return a reference to where the data is"
        ),
        type="PayloadTooLarge",
        non_retryable=True,
    )
    failed = WorkflowFailed(failure=Failure(chain=[cause]), call_site=output.call_site)
    return decide_failed(world, run, failed, now_ms)


def decide_failed(
    world: World, run: RunView, output: WorkflowFailed, now_ms: int
) -> WorkflowFailed:
    """A failed run is followed by another when its retry policy says so, or its cron schedule."""
    failure = fit_failure(output.failure, world.limits.result_bytes_max)
    if failure is not output.failure:
        output = replace(output, failure=failure)
    state, delay_ms = plan_next(run, failure, now_ms)
    if delay_ms < 0:
        return replace(output, retry_state=state)
    return replace(
        output, retry_state=state, next_run_id=world.new_run_id(), next_run_delay_ms=delay_ms
    )


def plan_next(run: RunView, failure: Failure, now_ms: int) -> tuple[str, int]:
    """What follows a run that failed: why, and after how long; -1 when nothing does.

    As long as the retry policy gives another attempt, that comes first; then the cron schedule.
    """
    policy, state = run.started.retry_policy, retry.NOT_SET
    if policy is not None:
        state, delay_ms = retry.plan_retry(
            policy,
            failure,
            attempt=run.started.attempt,
            now_ms=now_ms,
            expires_ms=run.state.execution_expires_ms,
        )
        if delay_ms >= 0:
            return state, delay_ms
    return state, _cron_delay_ms(run, now_ms)


def _cron_delay_ms(run: RunView, now_ms: int) -> int:
    """How long until a run's cron schedule is due again; -1 when it has none, or never is."""
    schedule = run.started.cron_schedule
    if not schedule:
        return -1
    began_ms = run.state.start_ms + run.started.first_activation_delay_ms
    due_ms = cron.next_due_ms(schedule, now_ms, began_ms=began_ms)
    expires_ms = run.state.execution_expires_ms
    if not due_ms or (expires_ms and due_ms >= expires_ms):
        return -1
    return due_ms - now_ms


def decide_next_run(actor: ActorView, now_ms: int) -> Step | Later:
    """The run that follows another is due."""
    if actor.next_start is None:
        return Later()
    if actor.alarm_ms > now_ms:
        return Later(actor.alarm_ms)
    return Step(actor.next_run_id, [actor.next_start])


def follow_failed(
    run: Run, event: WorkflowFailed | WorkflowTimedOut, failure: Failure, now_ms: int
) -> None:
    """The same again after a failure: soon as another attempt, or by the cron schedule."""
    if event.retry_state != retry.IN_PROGRESS:
        follow_cron(run, event.next_run_id, now_ms, event.next_run_delay_ms, failure=failure)
        return
    run.actor.next_run_id = event.next_run_id
    run.actor.alarm_ms = max(now_ms + event.next_run_delay_ms, 1)
    run.actor.next_start = replace(
        run.started,
        attempt=run.started.attempt + 1,
        memo=run.memo,
        search_attributes=carried_attributes(run),
        signals=[],
        update=None,
        children=[],
        first_activation_delay_ms=0,
        continued_run_id=run.state.run_id,
        initiator="retry",
        last_failure=failure,
    )


def follow_cron(
    run: Run,
    run_id: str,
    now_ms: int,
    delay_ms: int,
    *,
    result: Payload | None = None,
    failure: Failure | None = None,
) -> None:
    """The next run of a cron schedule begins at once, and its code when it is due.

    So there is a run to describe, to signal and to cancel while it waits. The last result stays
    until there is another; the last failure is that of the run before, if it failed.
    """
    run.actor.next_run_id = run_id
    run.actor.alarm_ms = max(now_ms, 1)
    run.actor.next_start = replace(
        run.started,
        attempt=1,
        memo=run.memo,
        search_attributes=carried_attributes(run),
        signals=[],
        update=None,
        children=[],
        first_activation_delay_ms=delay_ms,
        continued_run_id=run.state.run_id,
        initiator="cron",
        last_result=result if result is not None else run.started.last_result,
        last_failure=failure,
    )
