"""The action of a schedule as a record, and back."""

from __future__ import annotations

from typing import Any

from perdure._records.policies import (
    arguments_for,
    duration_of,
    milliseconds,
    payload_mapping,
    payloads_for,
    priority_of,
    priority_record,
    retry_policy_of,
    retry_record,
)
from perdure._records.workflow_names import WorkflowFacts, workflow_facts
from perdure._schedules.schedule import ScheduleAction, ScheduleActionStartWorkflow
from perdure._schedules.schedule_records import ActionRecord
from perdure._search_attribute_payloads import attribute_pairs, attribute_payloads
from perdure.api.common.v1 import Payload as PublicPayload
from perdure.common import TypedSearchAttributes
from perdure.converter._payload_codecs import payload_of, payload_record
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload
from perdure_topics.names import check_workflow_id

TIME_AT_THE_END = "-2026-11-24T09:00:00Z"


def action_record(action: ScheduleAction, converter: PayloadConverter) -> ActionRecord:
    """An action as the schedule's actor holds it. Raises TypeError or ValueError for a bad one."""
    if not isinstance(action, ScheduleActionStartWorkflow):
        raise TypeError("a schedule's action is a ScheduleActionStartWorkflow")
    facts = workflow_facts(action.workflow)
    # Each run's id is this one with the time at its end.
    check_workflow_id(action.id + TIME_AT_THE_END)
    return ActionRecord(
        workflow=facts.name,
        id=action.id,
        task_queue=action.task_queue,
        input=_input(action, facts, converter),
        headers={key: payload_record(value) for key, value in (action.headers or {}).items()},
        memo=payload_mapping(action.memo, converter, "memo"),
        search_attributes=_attributes(action, converter),
        static_summary=_text(action.static_summary, converter),
        static_details=_text(action.static_details, converter),
        execution_timeout_ms=milliseconds(action.execution_timeout, "execution_timeout"),
        run_timeout_ms=milliseconds(action.run_timeout, "run_timeout"),
        task_timeout_ms=milliseconds(action.task_timeout, "task_timeout"),
        retry_policy=retry_record(action.retry_policy),
        priority=priority_record(action.priority),
    )


def _input(
    action: ScheduleActionStartWorkflow, facts: WorkflowFacts, converter: PayloadConverter
) -> list[Payload]:
    """The arguments; those of an action that was described are payloads already."""
    what = f"the schedule's workflow {facts.name!r}"
    kinds = (Payload, PublicPayload)
    if not any(isinstance(value, kinds) for value in action.args):
        return arguments_for(what, action.args, converter, facts.signature)
    return [
        payload_record(value)
        if isinstance(value, kinds)
        else payloads_for(what, [value], converter)[0]
        for value in action.args
    ]


def _attributes(
    action: ScheduleActionStartWorkflow, converter: PayloadConverter
) -> dict[str, Payload]:
    """Both kinds of search attributes. Raises ValueError for a name that is given as both."""
    typed = attribute_payloads(action.typed_search_attributes, converter)
    untyped = attribute_payloads(action.untyped_search_attributes, converter)
    for name in typed.keys() & untyped.keys():
        raise ValueError(f"search attribute {name!r} is given twice")
    return typed | untyped


def _text(text: str | None, converter: PayloadConverter) -> Payload | None:
    return None if text is None else converter.to_payload(text)


def action_of(record: ActionRecord, converter: PayloadConverter) -> ScheduleActionStartWorkflow:
    """An action as users have it; its arguments stay payloads, for nobody says their types."""
    values: dict[str, Any] = {
        name: converter.from_payload(payload) for name, payload in record.memo.items()
    }
    return ScheduleActionStartWorkflow(
        record.workflow,
        args=[payload_of(payload) for payload in record.input],
        id=record.id,
        task_queue=record.task_queue,
        execution_timeout=duration_of(record.execution_timeout_ms),
        run_timeout=duration_of(record.run_timeout_ms),
        task_timeout=duration_of(record.task_timeout_ms),
        retry_policy=retry_policy_of(record.retry_policy),
        memo=values or None,
        typed_search_attributes=TypedSearchAttributes(
            attribute_pairs(record.search_attributes, converter)
        ),
        static_summary=_read(record.static_summary, converter),
        static_details=_read(record.static_details, converter),
        headers={key: payload_of(value) for key, value in record.headers.items()} or None,
        priority=priority_of(record.priority),
    )


def _read(payload: Payload | None, converter: PayloadConverter) -> str | None:
    return None if payload is None else converter.from_payload(payload, str)
