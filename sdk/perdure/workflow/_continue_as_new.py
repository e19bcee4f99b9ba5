"""Continue-as-new: ends a run and starts the next one under the same id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from perdure.common import RetryPolicy, SearchAttributes, TypedSearchAttributes
from perdure.workflow._activity_calls import UNSET, values_of
from perdure.workflow._event_groups import EventGroup
from perdure.workflow._interceptor_chain import outbound_of
from perdure.workflow._workflow_inputs import ContinueAsNewInput
from perdure_actors.definitions.registry import WorkflowDefinition, workflow_definition
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.runtime import current


def continue_as_new(
    arg: Any = UNSET,
    *,
    args: Sequence[Any] = (),
    workflow: Callable[..., Any] | str | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    backoff_start_interval: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> NoReturn:
    """End this run and start the next one, of the same id and with an empty history.

    What is not given is as it was; event_groups have no effect. It raises ContinueAsNewError, so
    nothing after it runs.
    """
    run = current()
    run.check_continuing()
    name, definition = _target(run, workflow)
    call = ContinueAsNewInput(
        workflow=name,
        args=values_of(arg, args),
        task_queue=task_queue,
        run_timeout=run_timeout,
        task_timeout=task_timeout,
        backoff_start_interval=backoff_start_interval,
        retry_policy=retry_policy,
        memo=memo,
        search_attributes=search_attributes,
        headers={},
        versioning_intent=None,
        initial_versioning_behavior=None,
        event_groups=event_groups,
        arg_types=None if definition is None else list(definition.signature.arg_types),
    )
    call.call_site = run.call_site()
    if definition is not None and not definition.is_dynamic:
        call.signature = definition.signature
    outbound_of(run).continue_as_new(call)


def _target(
    run: Run, workflow: Callable[..., Any] | str | None
) -> tuple[str, WorkflowDefinition | None]:
    if workflow is None:
        assert run.started is not None, "user code runs only after WorkflowStarted"
        return run.started.workflow_type, None
    if isinstance(workflow, str):
        return workflow, None
    definition = workflow_definition(workflow)
    return definition.name, definition
