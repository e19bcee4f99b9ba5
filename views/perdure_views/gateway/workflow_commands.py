"""Endpoints that change a workflow, one function and one row a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from perdure_schemas import commands
from perdure_schemas.answers.reset_points import EVENT, read_point, seq_at
from perdure_schemas.payloads import Payload, Record, ReplyTo, RetryPolicy
from perdure_schemas.replies import HistoryBatch, HistoryPage
from perdure_views.gateway.bodies import Cancel, Delete, Reset, Start, Terminate
from perdure_views.gateway.endpoints import Call, Endpoint
from perdure_views.gateway.problems import ProblemError, expect
from perdure_views.gateway.render import payload_of, payload_of_text
from perdure_views.gateway.requests import command, queue_of
from perdure_views.gateway.settings import ASK_S
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
    more = {"run_id": body.run_id, "first_run_id": body.first_run_id}
    return await _change(call, "cancel", queue, commands.CancelWorkflow, **more)


async def terminate_workflow(call: Call) -> Taken:
    """End a run at once."""
    body: Terminate = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    more = {"run_id": body.run_id, "first_run_id": body.first_run_id}
    return await _change(call, "terminate", queue, commands.TerminateWorkflow, **more)


async def delete_workflow(call: Call) -> Taken:
    """Forget a closed run."""
    body: Delete = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    return await _change(call, "delete", queue, commands.DeleteWorkflow, run_id=body.run_id)


async def reset_workflow(call: Call) -> Taken:
    """End a run, and begin a new one from an event of its history."""
    body: Reset = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    try:
        point = read_point(body.to)
        run_id, batches = await _history(call, body, queue, whole=point.kind != EVENT)
        seq = seq_at(point, batches, f"workflow {body.workflow_id!r} run {run_id}")
    except ValueError as error:
        raise ProblemError("invalid", str(error)) from error
    return await _change(
        call,
        "reset",
        queue,
        commands.ResetWorkflow,
        run_id=run_id,
        seq=seq,
        exclude=body.exclude,
        again=body.again,
    )


async def _change(
    call: Call, what: str, task_queue: str, kind: Callable[..., Record], **more: Any
) -> Taken:
    """Send a command about a run, with what each of them has: who asks, when, and why."""
    body: Cancel | Terminate | Delete | Reset = call.body
    return await command(
        call,
        what,
        body.workflow_id,
        task_queue,
        lambda reply: kind(
            workflow_id=body.workflow_id,
            reason=body.reason,
            request_id=body.request_id or reply.correlation_id,
            first_sent_ms=_now_ms(),
            identity=call.principal.name,
            reply=reply,
            **more,
        ),
    )


async def _history(
    call: Call, body: Reset, queue: str, *, whole: bool
) -> tuple[str, list[HistoryBatch]]:
    """The run that is reset, and its history; the whole of it where the point is looked for."""
    batches: list[HistoryBatch] = []
    run_id, from_seq = body.run_id, 1
    while True:
        answer = await call.backend.ask(
            f"history of workflow {body.workflow_id!r}",
            partial(_read_history, body.workflow_id, run_id, from_seq),
            workflow_id=body.workflow_id,
            task_queue=queue,
            timeout_s=ASK_S,
        )
        page = expect(HistoryPage, f"reset of workflow {body.workflow_id!r}", answer)
        batches += page.batches
        run_id, from_seq = page.run_id, page.next_seq
        if not page.more or not whole:
            return run_id, batches


def _read_history(
    workflow_id: str, run_id: str, from_seq: int, reply: ReplyTo
) -> commands.ReadHistory:
    return commands.ReadHistory(
        workflow_id=workflow_id, run_id=run_id, from_seq=from_seq, reply=reply
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
    Endpoint(
        method="POST",
        path="/api/v1/workflow/reset",
        name="resetWorkflow",
        says="End a run, and begin a new one from an event of its history.",
        role="operate",
        answers=reset_workflow,
        body=Reset,
        answer=Taken,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/workflow/delete",
        name="deleteWorkflow",
        says="Forget a closed run: it is known no more.",
        role="operate",
        answers=delete_workflow,
        body=Delete,
        answer=Taken,
    ),
)
