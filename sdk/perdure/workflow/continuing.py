"""Ending a run by starting the next one under the same id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from perdure.attribute_payloads import attribute_payloads
from perdure.common import RetryPolicy, SearchAttributes, TypedSearchAttributes
from perdure.records import milliseconds, retry_record
from perdure.workflow.calling import UNSET, values_of
from perdure_actors.definitions import WorkflowDefinition, workflow_definition
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.ending import ContinueAsNewError
from perdure_actors.replay.runtime import current
from perdure_schemas.events import WorkflowContinuedAsNew
from perdure_schemas.payloads import Payload


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
) -> NoReturn:
    """End this run and start the next one, of the same id and with an empty history.

    What is not given is as it was. It raises ContinueAsNewError, so nothing after it runs.
    """
    run = current()
    started = run.started
    assert started is not None, "user code runs only after WorkflowStarted"
    name, definition = _target(run, workflow)
    values = values_of(arg, args)
    names = () if definition is None else definition.signature.names
    try:
        payloads = run.converter.to_payloads(values, names=names)
    except (TypeError, ValueError) as error:
        raise type(error)(f"continue_as_new of {name}: {error}") from error
    raise ContinueAsNewError(
        WorkflowContinuedAsNew(
            workflow_type=name,
            input=payloads,
            task_queue=task_queue or "",
            run_timeout_ms=milliseconds(run_timeout, "run_timeout") or started.run_timeout_ms,
            task_timeout_ms=milliseconds(task_timeout, "task_timeout") or started.task_timeout_ms,
            retry_policy=retry_record(retry_policy) or started.retry_policy,
            memo={} if memo is None else _mapping(run, memo, "memo"),
            search_attributes=attribute_payloads(search_attributes, run.converter),
            delay_ms=milliseconds(backoff_start_interval, "backoff_start_interval"),
            call_site=run.call_site(),
        )
    )


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


def _mapping(run: Run, values: Mapping[str, Any], what: str) -> dict[str, Payload]:
    names = [f"the {what} {key!r}" for key in values]
    payloads = run.converter.to_payloads(list(values.values()), names=names)
    return dict(zip(values, payloads, strict=True))
