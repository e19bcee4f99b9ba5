"""Signal-with-start of another workflow, as one call and one record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from perdure._records.message_names import message_facts
from perdure._records.policies import (
    arguments_for,
    milliseconds,
    payload_mapping,
    payloads_for,
    priority_record,
    retry_record,
)
from perdure._records.workflow_names import WorkflowFacts, workflow_facts
from perdure._search_attribute_payloads import attribute_payloads
from perdure.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure.workflow._child_records import checked_id
from perdure.workflow._external import ExternalWorkflowHandle
from perdure_actors.core.cron import problem_of
from perdure_actors.definitions.handlers import SIGNAL
from perdure_actors.replay.runtime import current
from perdure_schemas.child_events import ExternalStartInitiated
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload, SignalInput

USE_EXISTING: Final = WorkflowIDConflictPolicy.USE_EXISTING


async def signal_with_start_workflow(
    workflow: str | Callable[..., Awaitable[object]],
    *positional_args: object,
    args: Sequence[Any] | None = None,
    id: str,
    task_queue: str,
    signal: str | Callable[..., Awaitable[None] | None],
    signal_args: object | Sequence[Any] | None = None,
    execution_timeout: timedelta | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    id_conflict_policy: WorkflowIDConflictPolicy | None = None,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
    priority: Priority | None = None,
    start_delay: timedelta | None = None,
    static_summary: str | None = None,
    static_details: str | None = None,
) -> ExternalWorkflowHandle[Any]:
    """Signal a workflow, start it with the signal where it does not run, and return its handle.

    It is no child. `signal_args` is one value or a list: `await
    workflow.signal_with_start_workflow(Cart.run, id="c", task_queue="q", signal=Cart.add)`.

    Raises WorkflowAlreadyStartedError when the reuse policy refuses the id, ApplicationError, its
    type the reason, when nobody takes the call, TypeError or ValueError for a wrong argument.
    """
    run = current()
    facts = workflow_facts(workflow)
    id = checked_id(run, facts.name, id)
    converter = run.converters.of_workflow(id)
    initiated = ExternalStartInitiated(
        call_id=run.calls.next_id(),
        workflow_id=id,
        workflow_type=facts.name,
        task_queue=task_queue,
        input=_input(converter, facts, positional_args, args),
        id_reuse_policy=id_reuse_policy.name.lower(),
        id_conflict_policy=(id_conflict_policy or USE_EXISTING).name.lower(),
        execution_timeout_ms=milliseconds(execution_timeout, "execution_timeout"),
        run_timeout_ms=milliseconds(run_timeout, "run_timeout"),
        task_timeout_ms=milliseconds(task_timeout, "task_timeout"),
        retry_policy=retry_record(retry_policy),
        cron_schedule=_cron(facts.name, cron_schedule),
        start_delay_ms=milliseconds(start_delay, "start_delay"),
        memo=payload_mapping(memo, converter, "memo"),
        search_attributes=attribute_payloads(search_attributes, converter),
        static_summary=_text(converter, static_summary),
        static_details=_text(converter, static_details),
        priority=priority_record(priority or Priority.default),
        signals=[_signal(converter, signal, signal_args)],
        call_site=run.call_site(),
    )
    return ExternalWorkflowHandle(id, await run.calls.send(initiated) or None, task_queue)


def _input(
    converter: PayloadConverter,
    facts: WorkflowFacts,
    positional: Sequence[Any],
    args: Sequence[Any] | None,
) -> list[Payload]:
    if positional and args is not None:
        raise ValueError("give arguments by position, or as args=[...], not both")
    values = positional if args is None else args
    what, is_read = f"workflow {facts.name!r}", not current().is_replaying
    return arguments_for(what, values, converter, facts.signature, is_read=is_read)


def _cron(workflow_type: str, schedule: str | None) -> str:
    if schedule and (problem := problem_of(schedule)):
        raise ValueError(f"workflow {workflow_type!r}: {problem}")
    return schedule or ""


def _signal(
    converter: PayloadConverter, signal: str | Callable[..., Any], given: object
) -> SignalInput:
    facts = message_facts(SIGNAL, signal)
    what, values = f"signal {facts.name!r}", _listed(given)
    return SignalInput(
        signal_name=facts.name,
        input=payloads_for(what, values, converter, facts.parameter_names),
    )


def _listed(given: object) -> Sequence[Any]:
    if given is None:
        return ()
    return given if isinstance(given, list) else [given]


def _text(converter: PayloadConverter, text: str | None) -> Payload | None:
    return None if text is None else converter.to_payload(text)
