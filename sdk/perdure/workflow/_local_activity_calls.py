"""Calls of local activities as inputs of the interceptor chain."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from perdure.common import RetryPolicy
from perdure.workflow._activity_calls import UNSET, values_of
from perdure.workflow._enums import ActivityCancellationType
from perdure.workflow._event_groups import EventGroup
from perdure.workflow._interceptor_chain import is_intercepted, outbound_of
from perdure.workflow._workflow_inputs import StartLocalActivityInput
from perdure.workflow._workflow_outbound import ask_local_activity
from perdure_actors.definitions.registry import activity_definition
from perdure_actors.replay.activity_calls import ActivityHandle
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.runtime import current


class LocalActivityConfig(TypedDict, total=False):
    """What a call of a local activity may say beside its arguments."""

    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    """Kept, without effect: every wait before a retry is a durable one."""
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None
    event_groups: Sequence[EventGroup] | None
    """Without effect."""


def _call(
    site: str,
    activity: Any,
    values: Sequence[Any],
    result_type: Any,
    *,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    summary: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> StartLocalActivityInput:
    """A call as the outbound chain knows it."""
    definition = None if isinstance(activity, str) else activity_definition(activity)
    name = activity if definition is None else definition.name
    if not name:
        raise ValueError("a dynamic activity is called by a name of yours: give it as a string")
    if definition is not None and result_type is None:
        result_type = definition.signature.result_type
    call = StartLocalActivityInput(
        activity=name,
        args=values,
        activity_id=activity_id,
        schedule_to_close_timeout=schedule_to_close_timeout,
        schedule_to_start_timeout=schedule_to_start_timeout,
        start_to_close_timeout=start_to_close_timeout,
        retry_policy=retry_policy,
        local_retry_threshold=local_retry_threshold,
        cancellation_type=cancellation_type,
        headers={},
        summary=summary,
        event_groups=event_groups,
        arg_types=None if definition is None else list(definition.signature.arg_types),
        ret_type=result_type,
    )
    call.call_site, call.definition = site, definition
    return call


def start(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[LocalActivityConfig],
) -> ActivityHandle[Any]:
    """Start a local activity."""
    run = current()
    call = _call(run.call_site(), activity, values_of(arg, args), result_type, **options)
    return outbound_of(run).start_local_activity(call)


def execute(
    activity: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[LocalActivityConfig],
) -> Coroutine[Any, Any, Any]:
    """The coroutine that runs a local activity."""
    run = current()
    # The call site is taken here: once a task runs the coroutine, the caller is not to be seen.
    return _outcome(run, run.call_site(), activity, values_of(arg, args), result_type, options)


async def _outcome(
    run: Run,
    site: str,
    activity: Any,
    values: Sequence[Any],
    result_type: Any,
    options: LocalActivityConfig,
) -> Any:
    call = _call(site, activity, values, result_type, **options)
    if is_intercepted(run):
        return await outbound_of(run).start_local_activity(call)
    return await run.activities.outcome(ask_local_activity(run, call))
