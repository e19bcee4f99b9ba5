"""Endpoints that change a workflow, one function and one row a command."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from perdure_schemas import commands
from perdure_schemas.payloads import Payload, ReplyTo, RetryPolicy
from perdure_views.gateway.bodies import Cancel, Start, Terminate
from perdure_views.gateway.endpoints import Call, Endpoint
from perdure_views.gateway.render import payload_of, payload_of_text
from perdure_views.gateway.requests import command, queue_of
from perdure_views.gateway.shapes import Taken


def _now_ms() -> int:
    return int(time.time() * 1000)


def _mapping(values: dict[str, msgspec.Raw]) -> dict[str, Payload]:
    return {name: payload_of(value) for name, value in values.items()}


async def start_workflow(call: Call) -> Taken:
    """Start a workflow; the answer comes from the accepted transition."""
    start: Start = call.body
    values = [payload_of(value) for value in start.input]
    policy = (
        RetryPolicy(**msgspec.structs.asdict(start.retry_policy)) if start.retry_policy else None
    )

    def make(reply: ReplyTo) -> commands.StartWorkflow:
        return commands.StartWorkflow(
            workflow_id=start.workflow_id,
            workflow_type=start.workflow_type,
            input=values,
            request_id=start.request_id or reply.correlation_id,
            first_sent_ms=_now_ms(),
            reply=reply,
            identity=call.principal.name,
            id_reuse_policy=start.id_reuse_policy,
            id_conflict_policy=start.id_conflict_policy,
            execution_timeout_ms=start.execution_timeout_ms,
            run_timeout_ms=start.run_timeout_ms,
            task_timeout_ms=start.task_timeout_ms,
            retry_policy=policy,
            cron_schedule=start.cron_schedule,
            start_delay_ms=start.start_delay_ms,
            memo=_mapping(start.memo),
            search_attributes=_mapping(start.search_attributes),
            static_summary=payload_of_text(start.summary),
            static_details=payload_of_text(start.details),
        )

    return await command(call, "start", start.workflow_id, start.task_queue, make)


async def cancel_workflow(call: Call) -> Taken:
    """Ask a run to cancel itself."""
    body: Cancel = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    return await command(
        call,
        "cancel",
        body.workflow_id,
        queue,
        lambda reply: commands.CancelWorkflow(
            workflow_id=body.workflow_id,
            run_id=body.run_id,
            first_run_id=body.first_run_id,
            reason=body.reason,
            request_id=body.request_id or reply.correlation_id,
            first_sent_ms=_now_ms(),
            identity=call.principal.name,
            reply=reply,
        ),
    )


async def terminate_workflow(call: Call) -> Taken:
    """End a run at once."""
    body: Terminate = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    return await command(
        call,
        "terminate",
        body.workflow_id,
        queue,
        lambda reply: commands.TerminateWorkflow(
            workflow_id=body.workflow_id,
            run_id=body.run_id,
            first_run_id=body.first_run_id,
            reason=body.reason,
            request_id=body.request_id or reply.correlation_id,
            first_sent_ms=_now_ms(),
            identity=call.principal.name,
            reply=reply,
        ),
    )


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/api/v1/workflows",
        name="startWorkflow",
        says="Start a workflow.",
        role="operate",
        answers=start_workflow,
        body=Start,
        answer=Taken,
        status=201,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/workflow/cancel",
        name="cancelWorkflow",
        says="Ask a run to cancel itself.",
        role="operate",
        answers=cancel_workflow,
        body=Cancel,
        answer=Taken,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/workflow/terminate",
        name="terminateWorkflow",
        says="End a run at once; its code is not asked.",
        role="operate",
        answers=terminate_workflow,
        body=Terminate,
        answer=Taken,
    ),
)
