"""A start's arguments as the record that is written. Only conversion lives here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from perdure._records.policies import (
    arguments_for,
    milliseconds,
    payloads_for,
    priority_record,
    retry_record,
)
from perdure._search_attribute_payloads import AttributeTypes, attribute_payloads
from perdure.client._inputs import StartWorkflowInput
from perdure.common import (
    WorkflowIDConflictPolicy,
)
from perdure.converter._payload_codecs import payload_record
from perdure_actors.core.cron import problem_of
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload, ReplyTo, SignalInput


def start_command(
    input: StartWorkflowInput,
    converter: PayloadConverter,
    identity: str,
    types: AttributeTypes | None = None,
) -> Callable[[ReplyTo], StartWorkflow]:
    """What makes the command once it is known where its answer goes.

    Raises TypeError or ValueError, naming the argument, for a value that cannot be written.
    """
    what = f"start of workflow {input.workflow!r}"
    values = arguments_for(what, input.args, converter, input.signature)
    memo = _mapping(input.memo, converter, "memo")
    attributes = attribute_payloads(input.search_attributes, converter)
    if types is not None:
        types.check(input.search_attributes, attributes)
    summary = _text(input.static_summary, converter)
    details = _text(input.static_details, converter)
    signals = []
    if input.start_signal is not None:
        what = f"signal {input.start_signal!r} of a start"
        signal_values = payloads_for(what, input.start_signal_args, converter)
        signals = [SignalInput(signal_name=input.start_signal, input=signal_values)]
    if input.cron_schedule and (problem := problem_of(input.cron_schedule)):
        raise ValueError(problem)
    conflict = input.id_conflict_policy
    if conflict == WorkflowIDConflictPolicy.UNSPECIFIED:
        conflict = WorkflowIDConflictPolicy.FAIL

    def make(reply: ReplyTo) -> StartWorkflow:
        return StartWorkflow(
            workflow_id=input.id,
            workflow_type=input.workflow,
            input=values,
            request_id=reply.correlation_id,
            first_sent_ms=int(time.time() * 1000),
            reply=reply,
            identity=identity,
            id_reuse_policy=input.id_reuse_policy.name.lower(),
            id_conflict_policy=conflict.name.lower(),
            execution_timeout_ms=milliseconds(input.execution_timeout, "execution_timeout"),
            run_timeout_ms=milliseconds(input.run_timeout, "run_timeout"),
            task_timeout_ms=milliseconds(input.task_timeout, "task_timeout"),
            retry_policy=retry_record(input.retry_policy),
            cron_schedule=input.cron_schedule,
            start_delay_ms=milliseconds(input.start_delay, "start_delay"),
            memo=memo,
            search_attributes=attributes,
            header={key: payload_record(one) for key, one in input.headers.items()},
            static_summary=summary,
            static_details=details,
            priority=priority_record(input.priority),
            signals=signals,
        )

    return make


def _mapping(
    values: Mapping[str, Any] | None, converter: PayloadConverter, what: str
) -> dict[str, Payload]:
    if not values:
        return {}
    names = [f"the {what} {key!r}" for key in values]
    return dict(zip(values, converter.to_payloads(list(values.values()), names=names), strict=True))


def _text(text: str | None, converter: PayloadConverter) -> Payload | None:
    return None if text is None else converter.to_payloads([text])[0]
