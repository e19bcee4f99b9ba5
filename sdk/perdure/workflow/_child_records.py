"""Calls of children and external workflows as records."""

from __future__ import annotations

from perdure._records.policies import (
    arguments_for,
    milliseconds,
    payload_mapping,
    priority_record,
    retry_record,
)
from perdure._search_attribute_payloads import attribute_payloads
from perdure.converter._payload_codecs import payload_record
from perdure.workflow._enums import ChildWorkflowCancellationType
from perdure.workflow._workflow_inputs import (
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartChildWorkflowInput,
)
from perdure_actors.core.cron import problem_of
from perdure_actors.replay.cancellable import ABANDON, TRY_CANCEL, WAIT_CANCELLATION_COMPLETED
from perdure_actors.replay.child_calls import WAIT_CANCELLATION_REQUESTED, PendingChild
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_schemas.bounds import utf8
from perdure_schemas.child_events import ChildWorkflowInitiated, ExternalSignalInitiated
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload, RunRef
from perdure_topics.names import InvalidNameError, check_workflow_id

_CANCELLATION = {
    ChildWorkflowCancellationType.ABANDON: ABANDON,
    ChildWorkflowCancellationType.TRY_CANCEL: TRY_CANCEL,
    ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED: WAIT_CANCELLATION_COMPLETED,
    ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED: WAIT_CANCELLATION_REQUESTED,
}


def ask_child(run: Run, call: StartChildWorkflowInput) -> PendingChild:
    """Ask for a child."""
    workflow_id = checked_id(run, call.workflow, call.id)
    converter = run.converters.of_workflow(workflow_id)
    if call.cron_schedule and (problem := problem_of(call.cron_schedule)):
        raise ValueError(f"child workflow {call.workflow!r}: {problem}")
    initiated = ChildWorkflowInitiated(
        child_id=run.children.next_id(),
        workflow_id=workflow_id,
        workflow_type=call.workflow,
        task_queue=call.task_queue or "",
        input=arguments_for(
            f"child workflow {call.workflow!r}",
            call.args,
            converter,
            call.signature,
            is_read=not run.is_replaying,
        ),
        header={key: payload_record(payload) for key, payload in call.headers.items()},
        execution_timeout_ms=milliseconds(call.execution_timeout, "execution_timeout"),
        run_timeout_ms=milliseconds(call.run_timeout, "run_timeout"),
        task_timeout_ms=milliseconds(call.task_timeout, "task_timeout"),
        parent_close_policy=call.parent_close_policy.name.lower(),
        cancellation_type=_CANCELLATION[call.cancellation_type],
        id_reuse_policy=call.id_reuse_policy.name.lower(),
        retry_policy=retry_record(call.retry_policy),
        cron_schedule=call.cron_schedule,
        memo=payload_mapping(call.memo, converter, "memo"),
        search_attributes=attribute_payloads(call.search_attributes, converter),
        static_summary=_text(converter, call.static_summary),
        static_details=_text(converter, call.static_details),
        priority=priority_record(call.priority),
        call_site=call.call_site or run.call_site(),
    )
    pending = run.children.ask(initiated, call.ret_type)
    pending.is_executed = call.is_executed
    return pending


def checked_id(run: Run, workflow: str, workflow_id: str) -> str:
    """An id as it is recorded, with what is no UTF-8 escaped.

    An id that no workflow can have is refused; what is recorded already is left as it is. Raises
    ValueError, naming the workflow.
    """
    written = utf8(workflow_id)
    if not run.is_replaying:
        try:
            check_workflow_id(written)
        except InvalidNameError as error:
            raise ValueError(f"workflow {workflow!r}: {error}") from error
    return written


def _text(converter: PayloadConverter, text: str | None) -> Payload | None:
    return None if text is None else converter.to_payload(text)


async def signal_child(run: Run, call: SignalChildWorkflowInput) -> None:
    """Signal a child of the run. Raises ValueError when it has none of that id."""
    child = run.children.known.get(utf8(call.child_workflow_id))
    if child is None:
        raise ValueError(f"this run has no child of workflow id {call.child_workflow_id!r}")
    target = RunRef(workflow_id=child.workflow_id, task_queue=child.task_queue)
    await run.calls.send(_signal(run, call, target, child.child_id))


async def signal_external(run: Run, call: SignalExternalWorkflowInput) -> None:
    """Signal another workflow."""
    target = RunRef(
        workflow_id=utf8(call.workflow_id),
        run_id=call.workflow_run_id or "",
        task_queue=call.task_queue,
    )
    await run.calls.send(_signal(run, call, target, ""))


def _signal(
    run: Run,
    call: SignalChildWorkflowInput | SignalExternalWorkflowInput,
    target: RunRef,
    child_id: str,
) -> ExternalSignalInitiated:
    try:
        converter = run.converters.of_workflow(target.workflow_id)
        values = converter.to_payloads(call.args, names=call.parameter_names)
    except (TypeError, ValueError) as error:
        raise type(error)(f"signal {call.signal!r}: {error}") from error
    return ExternalSignalInitiated(
        call_id=run.calls.next_id(),
        target=target,
        signal_name=call.signal,
        input=values,
        header={key: payload_record(payload) for key, payload in call.headers.items()},
        child_id=child_id,
        call_site=call.call_site or run.call_site(),
    )
