"""`perdure schedule`: create, describe, list and operate schedules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from perdure._schedules.schedule import (
    Schedule,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
)
from perdure._schedules.spec import ScheduleIntervalSpec, ScheduleSpec
from perdure.cli.command_options import call
from perdure.cli.output import echo, print_json, print_table, text
from perdure.cli.target import Broker, Engine, Namespace, Output, OutputFormat
from perdure.client import Client
from perdure.client._schedule_descriptions import ScheduleDescription, ScheduleListDescription
from perdure.client._schedule_handle import ScheduleHandle
from perdure_schemas import payloads as records

app = typer.Typer(help="Schedules: workflows started again and again.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="The schedule's id.")]
Note = Annotated[str, typer.Option("--note", help="Why, for people.")]
Overlap = Annotated[
    str, typer.Option("--overlap", help="skip, buffer_one, buffer_all, cancel_other, …")
]
EVERY_HELP = "An interval in seconds; may be given again."


def _overlap(name: str) -> ScheduleOverlapPolicy | None:
    if not name:
        return None
    try:
        return ScheduleOverlapPolicy[name.upper().replace("-", "_")]
    except KeyError:
        names = ", ".join(policy.name.lower() for policy in ScheduleOverlapPolicy)
        raise typer.BadParameter(f"{name!r} is no overlap policy: {names}") from None


def _moment(given: str) -> datetime:
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no time: give 2026-03-06T09:30+00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@app.command()
def create(
    schedule_id: Id,
    workflow_type: Annotated[str, typer.Option("--type", help="The workflow's type.")],
    task_queue: Annotated[
        str, typer.Option("--task-queue", "-q", envvar="PERDURE_TASK_QUEUE", help="Task queue.")
    ],
    workflow_id: Annotated[str, typer.Option("--id", help="What its workflows' ids begin with.")],
    cron: Annotated[list[str] | None, typer.Option("--cron", help="A cron expression.")] = None,
    every: Annotated[list[float] | None, typer.Option("--every", help=EVERY_HELP)] = None,
    zone: Annotated[str, typer.Option("--zone", help="The time zone of expressions.")] = "",
    jitter: Annotated[float, typer.Option("--jitter", help="Seconds of jitter.")] = 0,
    data: Annotated[list[str] | None, typer.Option("--input", "-i", help="JSON input.")] = None,
    overlap: Overlap = "skip",
    pause_on_failure: Annotated[bool, typer.Option("--pause-on-failure")] = False,  # noqa: FBT002
    paused: Annotated[bool, typer.Option("--paused")] = False,  # noqa: FBT002
    note: Note = "",
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Make a schedule; it lives on the task queue of what it starts."""
    action = ScheduleActionStartWorkflow(
        workflow_type,
        args=[records.Payload(data=one.encode()) for one in data or ()],
        id=workflow_id,
        task_queue=task_queue,
    )
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(
            cron_expressions=cron or [],
            intervals=[ScheduleIntervalSpec(timedelta(seconds=one)) for one in every or ()],
            time_zone_name=zone or None,
            jitter=timedelta(seconds=jitter) if jitter else None,
        ),
        policy=SchedulePolicy(
            overlap=_overlap(overlap) or ScheduleOverlapPolicy.SKIP,
            pause_on_failure=pause_on_failure,
        ),
        state=ScheduleState(note=note or None, paused=paused),
    )
    call(broker, engine, namespace, lambda client: client.create_schedule(schedule_id, schedule))
    echo(f"schedule {schedule_id} is made")


@app.command()
def describe(
    schedule_id: Id,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show what a schedule does, has done, left out and will do."""
    found: ScheduleDescription = call(
        broker, engine, namespace, lambda client: client.get_schedule_handle(schedule_id).describe()
    )
    shown = _as_json(found)
    if output is OutputFormat.JSON:
        print_json(shown)
        return
    lists = ("recent", "next")
    rows = [(key, text(str(value))) for key, value in shown.items() if key not in lists]
    print_table(("SCHEDULE", text(found.id)), rows)
    echo()
    print_table(
        ("FOR", "TAKEN", "WORKFLOW"),
        [
            (one["for"], one["taken"], text(one["workflow"] or one["reason"]))
            for one in shown["recent"]
        ],
    )
    echo("\nnext: " + (", ".join(shown["next"][:3]) or "never"))


def _as_json(found: ScheduleDescription) -> dict[str, Any]:
    schedule, info = found.schedule, found.info
    action: Any = schedule.action
    return {
        "id": found.id,
        "workflow_type": action.workflow,
        "workflow_id": action.id,
        "task_queue": action.task_queue,
        "cron": list(schedule.spec.cron_expressions),
        "every_s": [one.every.total_seconds() for one in schedule.spec.intervals],
        "calendars": len(schedule.spec.calendars),
        "zone": schedule.spec.time_zone_name or "UTC",
        "overlap": schedule.policy.overlap.name.lower(),
        "paused": schedule.state.paused,
        "note": schedule.state.note or "",
        "actions": info.num_actions,
        "missed": info.num_actions_missed_catchup_window,
        "skipped": info.num_actions_skipped_overlap,
        "running": [getattr(one, "workflow_id", "") for one in info.running_actions],
        "recent": _recent(info.recent_actions),
        "next": [one.isoformat() for one in info.next_action_times],
    }


def _recent(done: Sequence[ScheduleActionResult]) -> list[dict[str, str]]:
    return [
        {
            "for": one.scheduled_at.isoformat(),
            "taken": one.started_at.isoformat(),
            "workflow": getattr(one.action, "workflow_id", ""),
            "reason": one.reason,
        }
        for one in done
    ]


def _row(one: ScheduleListDescription) -> dict[str, Any]:
    """A schedule as a list has it; one made just now has only its id."""
    row: dict[str, Any] = {"id": one.id}
    if one.schedule is not None:
        action: Any = one.schedule.action
        row |= {
            "workflow_type": action.workflow,
            "cron": list(one.schedule.spec.cron_expressions),
            "every_s": [it.every.total_seconds() for it in one.schedule.spec.intervals],
            "zone": one.schedule.spec.time_zone_name or "UTC",
            "paused": one.schedule.state.paused,
            "note": one.schedule.state.note or "",
        }
    if one.info is not None:
        row |= {
            "actions": one.info.num_actions,
            "missed": one.info.num_actions_missed_catchup_window,
            "skipped": one.info.num_actions_skipped_overlap,
            "running": one.info.num_running_actions,
            "recent": _recent(one.info.recent_actions),
            "next": [at.isoformat() for at in one.info.next_action_times],
        }
    return row


@app.command("list")
def list_(
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show all schedules."""

    async def ask(client: Client) -> list[dict[str, Any]]:
        found = await client.list_schedules()
        return [_row(one) async for one in found]

    found = call(broker, engine, namespace, ask)
    if output is OutputFormat.JSON:
        print_json(found)
        return
    print_table(
        ("SCHEDULE", "STARTS", "PAUSED", "ACTIONS", "SKIPPED", "NEXT"),
        [
            (
                text(one["id"]),
                text(one.get("workflow_type", "")),
                "yes" if one.get("paused") else "",
                str(one.get("actions", "")),
                str(one.get("skipped", 0) + one.get("missed", 0)),
                next(iter(one.get("next", ())), "never"),
            )
            for one in found
        ],
    )


def _tell(
    schedule_id: str,
    broker: str | None,
    engine: str | None,
    namespace: str,
    do: Callable[[ScheduleHandle], Awaitable[None]],
) -> None:
    call(broker, engine, namespace, lambda client: do(client.get_schedule_handle(schedule_id)))


@app.command()
def pause(
    schedule_id: Id,
    note: Note = "",
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Let a schedule take no actions."""
    _tell(schedule_id, broker, engine, namespace, lambda it: it.pause(note=note or None))
    echo(f"schedule {schedule_id} is paused")


@app.command()
def unpause(
    schedule_id: Id,
    note: Note = "",
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Let a schedule take actions again."""
    _tell(schedule_id, broker, engine, namespace, lambda it: it.unpause(note=note or None))
    echo(f"schedule {schedule_id} goes on")


@app.command()
def trigger(
    schedule_id: Id,
    overlap: Overlap = "",
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Let a schedule take an action now."""
    policy = _overlap(overlap)
    _tell(schedule_id, broker, engine, namespace, lambda it: it.trigger(overlap=policy))
    echo(f"schedule {schedule_id} is triggered")


@app.command()
def backfill(
    schedule_id: Id,
    start: Annotated[str, typer.Option("--from", help="The first time, ISO 8601.")],
    end: Annotated[str, typer.Option("--to", help="The last time, ISO 8601.")],
    overlap: Overlap = "",
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """Let a schedule take the actions of a span of time now."""
    span = ScheduleBackfill(_moment(start), _moment(end), _overlap(overlap))
    _tell(schedule_id, broker, engine, namespace, lambda it: it.backfill(span))
    echo(f"schedule {schedule_id} is filled back")


@app.command()
def delete(
    schedule_id: Id,
    broker: Broker = None,
    engine: Engine = None,
    namespace: Namespace = "default",
) -> None:
    """End a schedule; what it has started goes on."""
    _tell(schedule_id, broker, engine, namespace, lambda it: it.delete())
    echo(f"schedule {schedule_id} is deleted")
