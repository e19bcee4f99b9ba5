"""Calls of child workflows as inputs of the interceptor chain."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from perdure._records.workflow_names import workflow_facts
from perdure.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)
from perdure.workflow._activity_calls import UNSET, values_of
from perdure.workflow._child_handle import ChildWorkflowHandle
from perdure.workflow._child_records import ask_child
from perdure.workflow._enums import ChildWorkflowCancellationType, ParentClosePolicy
from perdure.workflow._event_groups import EventGroup
from perdure.workflow._interceptor_chain import is_intercepted, outbound_of
from perdure.workflow._workflow_inputs import StartChildWorkflowInput
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.runtime import current
from perdure_actors.replay.seeded_random import uuid4_of


class ChildWorkflowConfig(TypedDict, total=False):
    """What a call of a child workflow may say beside its arguments."""

    id: str | None
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    static_summary: str | None
    static_details: str | None
    event_groups: Sequence[EventGroup] | None
    """Without effect."""
    priority: Priority


def _call(
    run: Run,
    site: str,
    workflow: Any,
    values: Sequence[Any],
    result_type: Any,
    *,
    id: str | None = None,
    task_queue: str | None = None,
    cancellation_type: ChildWorkflowCancellationType = (
        ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
    ),
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE,
    execution_timeout: timedelta | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    static_summary: str | None = None,
    static_details: str | None = None,
    event_groups: Sequence[EventGroup] | None = None,
    priority: Priority = Priority.default,
) -> StartChildWorkflowInput:
    """A call as the outbound chain knows it."""
    facts = workflow_facts(workflow)
    call = StartChildWorkflowInput(
        workflow=facts.name,
        args=values,
        id=str(uuid4_of(run.random())) if id is None else id,
        task_queue=task_queue,
        cancellation_type=cancellation_type,
        parent_close_policy=parent_close_policy,
        execution_timeout=execution_timeout,
        run_timeout=run_timeout,
        task_timeout=task_timeout,
        id_reuse_policy=id_reuse_policy,
        retry_policy=retry_policy,
        cron_schedule=cron_schedule,
        memo=memo,
        search_attributes=search_attributes,
        headers={},
        versioning_intent=None,
        static_summary=static_summary,
        static_details=static_details,
        priority=priority,
        arg_types=None,
        ret_type=result_type or facts.result_type,
        event_groups=event_groups,
    )
    call.call_site, call.signature = site, facts.signature
    return call


def start(
    workflow: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ChildWorkflowConfig],
) -> Coroutine[Any, Any, ChildWorkflowHandle[Any, Any]]:
    """The coroutine that starts a child, and returns when it runs."""
    run = current()
    # The call site is taken here: once a task runs the coroutine, the caller is not to be seen.
    return _start(run, run.call_site(), workflow, values_of(arg, args), result_type, options)


async def _start(
    run: Run,
    site: str,
    workflow: Any,
    values: Sequence[Any],
    result_type: Any,
    options: ChildWorkflowConfig,
) -> ChildWorkflowHandle[Any, Any]:
    call = _call(run, site, workflow, values, result_type, **options)
    handle: ChildWorkflowHandle[Any, Any] = await outbound_of(run).start_child_workflow(call)
    return handle


def execute(
    workflow: Any,
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ChildWorkflowConfig],
) -> Coroutine[Any, Any, Any]:
    """The coroutine that runs a child and returns what it returns."""
    run = current()
    return _execute(run, run.call_site(), workflow, values_of(arg, args), result_type, options)


async def _execute(
    run: Run,
    site: str,
    workflow: Any,
    values: Sequence[Any],
    result_type: Any,
    options: ChildWorkflowConfig,
) -> Any:
    call = _call(run, site, workflow, values, result_type, **options)
    call.is_executed = True
    if is_intercepted(run):
        return await (await outbound_of(run).start_child_workflow(call))
    pending = ask_child(run, call)
    await run.children.began(pending)
    return await run.children.outcome(pending)
