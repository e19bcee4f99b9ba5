"""Calls of activities as inputs of the interceptor chain; typed overloads are elsewhere."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, Unpack

from perdure.common import Priority, RetryPolicy
from perdure.workflow._enums import ActivityCancellationType
from perdure.workflow._event_groups import EventGroup
from perdure.workflow._interceptor_chain import is_intercepted, outbound_of
from perdure.workflow._workflow_inputs import StartActivityInput
from perdure.workflow._workflow_outbound import ask_activity
from perdure_actors.definitions.registry import activity_definition
from perdure_actors.replay.activity_calls import ActivityHandle
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.runtime import current


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
    event_groups: Sequence[EventGroup] | None
    """Without effect."""
    on_exhausted: Literal["fail", "pause"]
    """What follows the last attempt: the activity has failed, or it waits for a person."""


class _Unset:
    """The argument that was not given, None being one that may be."""


UNSET: Any = _Unset()


def _call(
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
    event_groups: Sequence[EventGroup] | None = None,
    on_exhausted: Literal["fail", "pause"] = "fail",
) -> StartActivityInput:
    """A call as the outbound chain knows it."""
    definition = None if isinstance(activity, str) else activity_definition(activity)
    name = activity if definition is None else definition.name
    if not name:
        raise ValueError("a dynamic activity is called by a name of yours: give it as a string")
    if definition is not None and result_type is None:
        result_type = definition.signature.result_type
    call = StartActivityInput(
        activity=name,
        args=values,
        activity_id=activity_id,
        task_queue=task_queue,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        start_to_close_timeout=start_to_close_timeout,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=retry_policy,
        cancellation_type=cancellation_type,
        headers={},
        disable_eager_execution=False,
        versioning_intent=None,
        summary=summary,
        priority=priority,
        arg_types=None if definition is None else list(definition.signature.arg_types),
        ret_type=result_type,
        event_groups=event_groups,
    )
    if on_exhausted not in ("fail", "pause"):
        raise ValueError(f"on_exhausted is {on_exhausted!r}: give 'fail' or 'pause'")
    call.call_site, call.definition, call.on_exhausted = site, definition, on_exhausted
    return call


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
    call = _call(run.call_site(), activity, values_of(arg, args), result_type, **options)
    return outbound_of(run).start_activity(call)


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
    call = _call(site, activity, values, result_type, **options)
    if is_intercepted(run):
        return await outbound_of(run).start_activity(call)
    return await run.activities.outcome(ask_activity(run, call))
