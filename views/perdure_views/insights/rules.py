"""Rules of findings: what is wrong with a run or a queue, the likely cause, the remedy. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from perdure_schemas import events as ev
from perdure_schemas.findings import Finding
from perdure_schemas.operator_events import ActivityPaused
from perdure_schemas.payloads import Record
from perdure_views.insights.rows import OpenRun

RETRIES_TOLD: Final = frozenset((5, 10, 20, 50, 100, 200, 500, 1_000, 10_000))
EVENTS_TOLD: Final = (10_000, 25_000, 50_000, 100_000)
BYTES_TOLD: Final = tuple(n * 1024 * 1024 for n in (10, 25, 50, 100))
LATE_MS: Final = 5_000
STUCK_MS: Final = 15 * 60_000
NOT_STARTED_MS: Final = 60_000

# kind -> what is so, what it most likely comes from, what to do.
WORDS: Final[dict[str, tuple[str, str, str]]] = {
    "poison": (
        "the command at offset {offset} could not be taken: {reason}",
        "a producer writes records of another schema, or to a partition that is not theirs",
        "look at it in {queue}.commands.dead, mend its producer, and send it again",
    ),
    "blocked": (
        "workflow {workflow} is blocked ({cause}): {message}",
        "{why}",
        "{remedy}",
    ),
    "retrying": (
        (
            "activity {activity} of workflow {workflow} failed {attempt} times: {failure};"
            " the next attempt is at {next}"
        ),
        "what it calls is down, or refuses this input every time",
        (
            "mend what it calls; or bound retry_policy.maximum_attempts, raise a non-retryable"
            " error, or pause the activity"
        ),
    ),
    "exhausted": (
        (
            "activity {activity} of workflow {workflow} has no attempt left after {attempt}:"
            " {failure}; it waits for a person"
        ),
        "what it calls is down, or refuses this input every time",
        "mend what it calls, then retry the activity; or fail it, and the workflow goes on",
    ),
    "history_large": (
        "the history of workflow {workflow} has {events} events and {mib} MiB",
        "a loop that never continues as new, or payloads that belong into a store",
        (
            "call workflow.continue_as_new when info().is_continue_as_new_suggested(); keep large"
            " values in external storage"
        ),
    ),
    "timer_late": (
        "a timer of workflow {workflow} fired {late_s} s late",
        "no host owned the partition, or its host was overloaded",
        "look at the lag of {queue}.commands and at take-overs; start more hosts",
    ),
    "stuck": (
        "nothing has happened to workflow {workflow} for {quiet}: it waits for activity {activity}",
        "{why}",
        "{remedy}",
    ),
    "no_worker": (
        (
            "activity {activity} of workflow {workflow} waits for {quiet} on task queue {on}:"
            " no worker has taken it"
        ),
        "no worker of that queue runs, all its slots are taken, or it has another activity type",
        "start one: perdure worker MODULE --task-queue {on}; or give schedule_to_start_timeout",
    ),
}
_BLOCKED_WHY: Final = {
    "nondeterminism": (
        (
            "the deployed code does not do what the history says it did: {produced} where"
            " {recorded} is recorded"
        ),
        "roll back, or keep the old branch behind workflow.patched(); it goes on by itself",
    ),
    "unregistered": (
        "the workers of the queue lack the workflow type",
        "deploy code that registers it; it goes on by itself",
    ),
    "deadlock": (
        "the code computes or blocks instead of waiting",
        "move the work into an activity; it goes on by itself",
    ),
}
_BLOCKED_ELSE: Final = (
    "the workflow's code raised what is no failure",
    "deploy fixed code: it goes on by itself; or terminate the run",
)


def notice(kind: str, queue: str, name: str, time_ms: int, /, **facts: Any) -> Finding:
    """A finding in its words. `name` makes it the same when it is found again."""
    message, cause, remedy = (
        text.format(queue=queue, **facts) if "{" in text else text for text in WORDS[kind]
    )
    return Finding(
        finding_id=f"{kind}/{name}",
        kind=kind,
        task_queue=queue,
        workflow_id=facts.get("workflow", ""),
        run_id=facts.get("run", ""),
        time_ms=time_ms,
        message=message,
        cause=cause,
        remedy=remedy,
    )


def notices_of(
    run: OpenRun, event: Record, size_before: int, queue: str, now_ms: int
) -> Iterator[Finding]:
    """What an event that has just been taken shows of its run."""
    about: dict[str, Any] = {"workflow": run.workflow_id, "run": run.run_id}
    here = (queue, f"{run.run_id}/{run.events}", now_ms)
    if isinstance(event, ev.WorkflowBlocked):
        yield _blocked(event, here, about)
    if isinstance(event, ev.ActivityRetryScheduled) and event.attempt in RETRIES_TOLD:
        activity = run.activities.get(event.activity_id)
        yield notice(
            "retrying",
            *here,
            **about,
            activity=activity.activity_type if activity else event.activity_id,
            attempt=event.attempt,
            failure=activity.failure if activity else "",
            next=_clock(event.due_ms),
        )
    grew = any(size_before < told <= run.size for told in BYTES_TOLD)
    if isinstance(event, ActivityPaused) and event.failure is not None:
        activity = run.activities.get(event.activity_id)
        yield notice(
            "exhausted",
            *here,
            **about,
            activity=activity.activity_type if activity else event.activity_id,
            attempt=event.attempt,
            failure=activity.failure if activity else "",
        )
    if run.events in EVENTS_TOLD or grew:
        mib = round(run.size / 1024 / 1024, 1)
        yield notice("history_large", *here, **about, events=run.events, mib=mib)
    if isinstance(event, ev.TimerFired):
        late_ms = now_ms - run.timers.get(event.timer_id, now_ms)
        if late_ms > LATE_MS:
            yield notice("timer_late", *here, **about, late_s=round(late_ms / 1000, 1))


def _blocked(
    event: ev.WorkflowBlocked, here: tuple[str, str, int], about: dict[str, Any]
) -> Finding:
    why, remedy = _BLOCKED_WHY.get(event.cause, _BLOCKED_ELSE)
    why = why.format(produced=event.produced or "nothing", recorded=event.recorded or "nothing")
    facts: dict[str, Any] = {
        "cause": event.cause,
        "message": event.message,
        "why": why,
        "remedy": remedy,
    }
    return notice("blocked", *here, **about, **facts)


def quiet_notices(run: OpenRun, queue: str, now_ms: int) -> Iterator[Finding]:
    """What the silence of a run shows, looked at from time to time."""
    if run.blocked:
        return
    about: dict[str, Any] = {"workflow": run.workflow_id, "run": run.run_id}
    for activity_id, activity in sorted(run.activities.items()):
        here = (queue, f"{run.run_id}/{activity_id}/{activity.attempt}", now_ms)
        waits_ms = now_ms - activity.scheduled_ms
        backs_off = activity.next_ms > now_ms
        if activity.started or backs_off:
            silent_ms = now_ms - run.moved_ms
            if activity.started and silent_ms > max(STUCK_MS, activity.limit_ms):
                yield notice(
                    "stuck",
                    *here,
                    **about,
                    activity=activity.activity_type,
                    quiet=_span(silent_ms),
                    why="the activity hangs, or its timeout is longer than anybody waits",
                    remedy="give it a heartbeat_timeout, or a shorter start_to_close_timeout",
                )
        elif waits_ms > NOT_STARTED_MS and not activity.paused:
            yield notice(
                "no_worker",
                *here,
                **about,
                activity=activity.activity_type,
                quiet=_span(waits_ms),
                on=activity.task_queue,
            )


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(duration_ms: int) -> str:
    minutes, seconds = divmod(duration_ms // 1000, 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
