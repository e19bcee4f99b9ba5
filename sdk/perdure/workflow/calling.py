"""How a call of an activity becomes a record; the typed faces of it stand beside."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any, TypedDict, Unpack

from perdure.common import Priority, RetryPolicy
from perdure.records import milliseconds, priority_record, retry_record
from perdure_actors.definitions import ActivityDefinition, activity_definition
from perdure_actors.replay.activities import (
    ABANDON,
    TRY_CANCEL,
    WAIT_CANCELLATION_COMPLETED,
    ActivityHandle,
    PendingActivity,
)
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.runtime import current
from perdure_schemas.events import ActivityScheduled
from perdure_schemas.payloads import Payload


class ActivityCancellationType(IntEnum):
    """What cancelling an activity does."""

    TRY_CANCEL = 0
    """Ask it to stop, and end the wait at once."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask it to stop, and wait until it has."""
    ABANDON = 2
    """End the wait, and leave it alone."""


_CANCELLATION = {
    ActivityCancellationType.TRY_CANCEL: TRY_CANCEL,
    ActivityCancellationType.WAIT_CANCELLATION_COMPLETED: WAIT_CANCELLATION_COMPLETED,
    ActivityCancellationType.ABANDON: ABANDON,
}


class ActivityConfig(TypedDict, total=False):
    """What a call of an activity may say beside its arguments."""

    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None
    priority: Priority


class _Unset:
    """The argument that was not given, None being one that may be."""


UNSET: Any = _Unset()


def _ask(
    run: Run,
    site: str,
    activity: Any,
    values: Sequence[Any],
    result_type: Any,
    *,
    task_queue: str | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    summary: str | None = None,
    priority: Priority = Priority.default,
) -> PendingActivity:
    definition = None if isinstance(activity, str) else activity_definition(activity)
    name = activity if definition is None else definition.name
    if not name:
        raise ValueError("a dynamic activity is called by a name of yours: give it as a string")
    if start_to_close_timeout is None and schedule_to_close_timeout is None:
        raise ValueError(
            f"activity {name!r} needs start_to_close_timeout (for one attempt) or "
            "schedule_to_close_timeout (for all of them)"
        )
    if definition is not None and result_type is None:
        result_type = definition.signature.result_type
    scheduled = ActivityScheduled(
        activity_id=run.activities.next_id(activity_id),
        activity_type=name,
        task_queue=task_queue or "",
        input=_input(run, name, definition, values),
        schedule_to_close_ms=0
        if schedule_to_close_timeout is None
        else milliseconds(schedule_to_close_timeout, "schedule_to_close_timeout"),
        schedule_to_start_ms=0
        if schedule_to_start_timeout is None
        else milliseconds(schedule_to_start_timeout, "schedule_to_start_timeout"),
        start_to_close_ms=0
        if start_to_close_timeout is None
        else milliseconds(start_to_close_timeout, "start_to_close_timeout"),
        heartbeat_ms=0
        if heartbeat_timeout is None
        else milliseconds(heartbeat_timeout, "heartbeat_timeout"),
        retry_policy=retry_record(retry_policy),
        priority=priority_record(priority),
        cancellation_type=_CANCELLATION[cancellation_type],
        summary=None if summary is None else run.converter.to_payload(summary),
        call_site=site,
    )
    return run.activities.ask(scheduled, result_type)


def _input(
    run: Run, name: str, definition: ActivityDefinition | None, values: Sequence[Any]
) -> list[Payload]:
    """The payloads of the arguments; TypeError or ValueError name the activity and the argument."""
    names: Sequence[str] = ()
    if definition is not None:
        signature = definition.signature
        names = signature.names
        if not signature.required <= len(values) <= len(names) and not definition.is_variadic:
            raise TypeError(
                f"activity {name!r} ({definition.where}) takes ({', '.join(names)}), "
                f"but was given {len(values)} argument{'' if len(values) == 1 else 's'}"
            )
    try:
        return run.converter.to_payloads(values, names=names)
    except (TypeError, ValueError) as error:
        raise type(error)(f"activity {name!r}: {error}") from error


def values_of(arg: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments that were given, one by position or several by name."""
    if arg is UNSET:
        return args
    if args:
        raise TypeError("give one argument by position, or several as args=[...], not both")
    return (arg,)


def start(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ActivityConfig],
) -> ActivityHandle[Any]:
    """Start an activity."""
    run = current()
    values = values_of(arg, args)
    return run.activities.handle(
        _ask(run, run.call_site(), activity, values, result_type, **options)
    )


def execute(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ActivityConfig],
) -> Coroutine[Any, Any, Any]:
    """The coroutine that runs an activity."""
    run = current()
    # The call site is taken here: once a task runs the coroutine, the caller is not to be seen.
    return _outcome(run, run.call_site(), activity, values_of(arg, args), result_type, options)


async def _outcome(
    run: Run,
    site: str,
    activity: Any,
    values: Sequence[Any],
    result_type: Any,
    options: ActivityConfig,
) -> Any:
    return await run.activities.outcome(_ask(run, site, activity, values, result_type, **options))
