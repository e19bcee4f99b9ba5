"""The end of a run's outbound chain: calls as records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from msgspec.structs import replace

from perdure._records.policies import arguments_for, milliseconds, priority_record, retry_record
from perdure._search_attribute_payloads import attribute_payloads
from perdure.converter._payload_codecs import header_records
from perdure.workflow._child_handle import ChildWorkflowHandle
from perdure.workflow._child_records import ask_child, signal_child, signal_external
from perdure.workflow._enums import ActivityCancellationType
from perdure.workflow._info import Info, info_of
from perdure.workflow._workflow_inputs import (
    ContinueAsNewInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
)
from perdure.workflow._workflow_interceptor import CHAIN, WorkflowOutboundInterceptor
from perdure_actors.replay.activity_calls import ActivityHandle, PendingActivity
from perdure_actors.replay.cancellable import ABANDON, TRY_CANCEL, WAIT_CANCELLATION_COMPLETED
from perdure_actors.replay.coroutine import Coroutine as Run
from perdure_actors.replay.run_outcomes import ContinueAsNewError
from perdure_schemas import payloads as records
from perdure_schemas.events import ActivityScheduled, WorkflowContinuedAsNew

_CANCELLATION = {
    ActivityCancellationType.TRY_CANCEL: TRY_CANCEL,
    ActivityCancellationType.WAIT_CANCELLATION_COMPLETED: WAIT_CANCELLATION_COMPLETED,
    ActivityCancellationType.ABANDON: ABANDON,
}


class Innermost(WorkflowOutboundInterceptor):
    """Asks the run itself."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def info(self) -> Info:
        """What the run knows of itself."""
        return info_of(self._run)

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """Start an activity."""
        return self._run.activities.handle(ask_activity(self._run, input))

    async def start_child_workflow(
        self, input: StartChildWorkflowInput
    ) -> ChildWorkflowHandle[Any, Any]:
        """Start a child, and wait until it runs."""
        run = self._run
        pending = ask_child(run, input)
        await run.children.began(pending)
        return ChildWorkflowHandle(run.children, pending, run.loop, self._outermost)

    def _outermost(self) -> WorkflowOutboundInterceptor:
        chain = self._run.kept.get(CHAIN)
        outermost: WorkflowOutboundInterceptor = self if chain is None else chain.outbound
        return outermost

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        """Signal a child, and wait until it has taken it."""
        await signal_child(self._run, input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        """Signal another workflow, and wait until it has taken it."""
        await signal_external(self._run, input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:
        """Start a local activity."""
        return self._run.activities.handle(ask_local_activity(self._run, input))

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """End the run by starting the next one."""
        raise ContinueAsNewError(_continued(self._run, input))


def ask_activity(run: Run, call: StartActivityInput) -> PendingActivity:
    """Ask for an activity."""
    scheduled = _scheduled(
        run,
        call,
        task_queue=call.task_queue or "",
        heartbeat_ms=milliseconds(call.heartbeat_timeout, "heartbeat_timeout"),
        priority=priority_record(call.priority),
        on_exhausted="pause" if call.on_exhausted == "pause" else "",
        disable_eager_execution=bool(call.disable_eager_execution),
    )
    return run.activities.ask(_with_input(run, call, scheduled), call.ret_type)


def ask_local_activity(run: Run, call: StartLocalActivityInput) -> PendingActivity:
    """Ask for a local activity."""
    scheduled = _scheduled(
        run,
        call,
        local=True,
        local_retry_threshold_ms=milliseconds(call.local_retry_threshold, "local_retry_threshold"),
    )
    return run.activities.ask(_with_input(run, call, scheduled), call.ret_type)


def _scheduled(
    run: Run, call: StartActivityInput | StartLocalActivityInput, **more: Any
) -> ActivityScheduled:
    """What calls of both kinds say, and more."""
    name = call.activity
    if call.start_to_close_timeout is None and call.schedule_to_close_timeout is None:
        raise ValueError(
            f"activity {name!r} needs start_to_close_timeout (for one attempt) or "
            "schedule_to_close_timeout (for all of them)"
        )
    return ActivityScheduled(
        activity_id=run.activities.next_id(call.activity_id),
        activity_type=name,
        header=header_records(call.headers),
        schedule_to_close_ms=milliseconds(
            call.schedule_to_close_timeout, "schedule_to_close_timeout"
        ),
        schedule_to_start_ms=milliseconds(
            call.schedule_to_start_timeout, "schedule_to_start_timeout"
        ),
        start_to_close_ms=milliseconds(call.start_to_close_timeout, "start_to_close_timeout"),
        retry_policy=retry_record(call.retry_policy),
        cancellation_type=_CANCELLATION[call.cancellation_type],
        summary=None if call.summary is None else run.converter.to_payload(call.summary),
        call_site=call.call_site or run.call_site(),
        **more,
    )


def _with_input(
    run: Run, call: StartActivityInput | StartLocalActivityInput, scheduled: ActivityScheduled
) -> ActivityScheduled:
    """With the arguments as payloads; TypeError or ValueError name the activity and the argument.

    It is known by now which activity it is, and where: converters may ask.
    """
    definition = call.definition
    is_known = definition is not None and definition.name == call.activity
    signature = definition.signature if definition is not None and is_known else None
    is_read = not run.is_replaying and not (definition is not None and definition.is_variadic)
    converter = run.converters.of_activity(scheduled, run.started)
    what = f"activity {call.activity!r}"
    return replace(
        scheduled, input=arguments_for(what, call.args, converter, signature, is_read=is_read)
    )


def _continued(run: Run, call: ContinueAsNewInput) -> WorkflowContinuedAsNew:
    started = run.started
    assert started is not None, "user code runs only after WorkflowStarted"
    name = call.workflow or started.workflow_type
    payloads = arguments_for(
        f"continue_as_new of {name}",
        call.args,
        run.converter,
        call.signature,
        is_read=not run.is_replaying,
    )
    return WorkflowContinuedAsNew(
        workflow_type=name,
        input=payloads,
        task_queue=call.task_queue or "",
        run_timeout_ms=milliseconds(call.run_timeout, "run_timeout") or started.run_timeout_ms,
        task_timeout_ms=milliseconds(call.task_timeout, "task_timeout") or started.task_timeout_ms,
        retry_policy=retry_record(call.retry_policy) or started.retry_policy,
        memo={} if call.memo is None else _mapping(run, call.memo, "memo"),
        search_attributes=attribute_payloads(call.search_attributes, run.converter),
        header=header_records(call.headers),
        delay_ms=milliseconds(call.backoff_start_interval, "backoff_start_interval"),
        call_site=call.call_site or run.call_site(),
    )


def _mapping(run: Run, values: Mapping[str, Any], what: str) -> dict[str, records.Payload]:
    names = [f"the {what} {key!r}" for key in values]
    payloads = run.converter.to_payloads(list(values.values()), names=names)
    return dict(zip(values, payloads, strict=True))
