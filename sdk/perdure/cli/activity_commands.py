"""`perdure activity`: operations on pending activities, by id or by type."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import typer

from perdure.cli.command_options import Seconds, call, duration
from perdure.cli.output import console, print_json, text
from perdure.cli.target import (
    Broker,
    Engine,
    Namespace,
    Output,
    OutputFormat,
    RunId,
    TaskQueue,
    WorkflowId,
)
from perdure.client import Client, PendingActivities
from perdure.common import RetryPolicy
from perdure.exceptions import ApplicationError

app = typer.Typer(help="Pending activities: pause, retry, fail, ...", no_args_is_help=True)

ActivityId = Annotated[
    str | None, typer.Option("--activity-id", "-a", help="The activity, as describe names it.")
]
ActivityType = Annotated[
    str | None, typer.Option("--activity-type", help="All pending activities of a type.")
]
Jitter = Annotated[float, typer.Option(help="Seconds over which many are spread.")]
ResetHeartbeat = Annotated[
    bool, typer.Option("--reset-heartbeat", help="Forget what the last heartbeat left.")
]


def _policy(
    attempts: int | None, initial_s: float | None, maximum_s: float | None
) -> RetryPolicy | None:
    """A retry policy where any of it was given; the rest is Perdure's default."""
    if attempts is None and initial_s is None and maximum_s is None:
        return None
    return RetryPolicy(
        maximum_attempts=attempts or 0,
        initial_interval=duration(initial_s) or timedelta(seconds=1),
        maximum_interval=duration(maximum_s),
    )


class _Place:
    """Where the activities are, and how the answer is printed."""

    def __init__(
        self,
        workflow_id: str,
        run_id: str | None,
        task_queue: str | None,
        broker: str | None,
        engine: str | None,
        namespace: str,
        output: OutputFormat,
    ) -> None:
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.task_queue = task_queue
        self.broker = broker
        self.engine = engine
        self.namespace = namespace
        self.output = output

    def do(self, what: str, act: Callable[[PendingActivities], Awaitable[None]]) -> None:
        """Do something to the activities, and say that it was done."""

        async def go(client: Client) -> None:
            await act(
                client.pending_activities(
                    self.workflow_id, run_id=self.run_id, task_queue=self.task_queue
                )
            )

        call(self.broker, self.engine, self.namespace, go)
        if self.output is OutputFormat.JSON:
            print_json({"workflow_id": self.workflow_id, "done": what})
        else:
            console().print(f"{what}: [bold]{text(self.workflow_id)}[/]")


@app.command()
def pause(
    workflow_id: WorkflowId,
    activity_id: ActivityId = None,
    activity_type: ActivityType = None,
    run_id: RunId = None,
    reason: Annotated[str, typer.Option(help="Why; shown with the activity.")] = "",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Let no further attempt start."""
    place = _Place(workflow_id, run_id, task_queue, broker, engine, namespace, output)
    place.do(
        "paused",
        lambda activities: activities.pause(
            activity_id=activity_id, activity_type=activity_type, reason=reason
        ),
    )


@app.command()
def unpause(
    workflow_id: WorkflowId,
    activity_id: ActivityId = None,
    activity_type: ActivityType = None,
    run_id: RunId = None,
    reset_attempts: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--reset-attempts", help="Begin with attempt 1.")
    ] = False,
    reset_heartbeat: ResetHeartbeat = False,  # noqa: FBT002 - an option
    jitter: Jitter = 0.0,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Let paused activities go on."""
    place = _Place(workflow_id, run_id, task_queue, broker, engine, namespace, output)
    place.do(
        "unpaused",
        lambda activities: activities.unpause(
            activity_id=activity_id,
            activity_type=activity_type,
            reset_attempts=reset_attempts,
            reset_heartbeat=reset_heartbeat,
            jitter=duration(jitter),
        ),
    )


@app.command()
def reset(
    workflow_id: WorkflowId,
    activity_id: ActivityId = None,
    activity_type: ActivityType = None,
    run_id: RunId = None,
    keep_paused: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--keep-paused", help="What is paused stays so.")
    ] = False,
    reset_heartbeat: ResetHeartbeat = False,  # noqa: FBT002 - an option
    jitter: Jitter = 0.0,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Start over from attempt 1."""
    place = _Place(workflow_id, run_id, task_queue, broker, engine, namespace, output)
    place.do(
        "reset",
        lambda activities: activities.reset(
            activity_id=activity_id,
            activity_type=activity_type,
            keep_paused=keep_paused,
            reset_heartbeat=reset_heartbeat,
            jitter=duration(jitter),
        ),
    )


@app.command()
def retry(
    workflow_id: WorkflowId,
    activity_id: ActivityId = None,
    activity_type: ActivityType = None,
    run_id: RunId = None,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Start the next attempt now: of what backs off, or is out of attempts."""
    place = _Place(workflow_id, run_id, task_queue, broker, engine, namespace, output)
    place.do(
        "will be tried again",
        lambda activities: activities.retry(activity_id=activity_id, activity_type=activity_type),
    )


@app.command()
def fail(
    workflow_id: WorkflowId,
    activity_id: ActivityId = None,
    activity_type: ActivityType = None,
    run_id: RunId = None,
    message: Annotated[
        str, typer.Option(help="What the workflow is told.")
    ] = "failed by an operator",
    error_type: Annotated[str, typer.Option(help="The error's type.")] = "OperatorError",
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Fail one activity for good: its workflow sees the error."""
    place = _Place(workflow_id, run_id, task_queue, broker, engine, namespace, output)
    place.do(
        "failed",
        lambda activities: activities.fail(
            ApplicationError(message, type=error_type, non_retryable=True),
            activity_id=activity_id,
            activity_type=activity_type,
        ),
    )


@app.command("update-options")
def update_options(
    workflow_id: WorkflowId,
    activity_id: ActivityId = None,
    activity_type: ActivityType = None,
    run_id: RunId = None,
    activity_queue: Annotated[
        str | None, typer.Option(help="The task queue of its next attempts.")
    ] = None,
    start_to_close: Seconds = None,
    schedule_to_close: Seconds = None,
    schedule_to_start: Seconds = None,
    heartbeat: Seconds = None,
    maximum_attempts: Annotated[int | None, typer.Option(help="0 for any number.")] = None,
    initial_interval: Seconds = None,
    maximum_interval: Seconds = None,
    restore_original: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--restore-original", help="Begin with what the code asked for.")
    ] = False,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Give other times, attempts or queue, from the next attempt on; 0 takes a limit away."""
    policy = _policy(maximum_attempts, initial_interval, maximum_interval)
    place = _Place(workflow_id, run_id, task_queue, broker, engine, namespace, output)
    place.do(
        "updated",
        lambda activities: activities.update_options(
            activity_id=activity_id,
            activity_type=activity_type,
            task_queue=activity_queue,
            start_to_close_timeout=duration(start_to_close),
            schedule_to_close_timeout=duration(schedule_to_close),
            schedule_to_start_timeout=duration(schedule_to_start),
            heartbeat_timeout=duration(heartbeat),
            retry_policy=policy,
            restore_original=restore_original,
        ),
    )
