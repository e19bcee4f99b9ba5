"""Endpoints of signals, queries and updates."""

from __future__ import annotations

import time
import uuid
from typing import Final

from perdure_schemas import message_commands
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Accepted, QueryAnswer, UpdateAnswer
from perdure_views.gateway.backend import BackendError
from perdure_views.gateway.bodies import Query, Signal, Update
from perdure_views.gateway.endpoints import Call, Endpoint
from perdure_views.gateway.problems import ProblemError, expect
from perdure_views.gateway.render import payload_of, shown
from perdure_views.gateway.requests import command, queue_of
from perdure_views.gateway.settings import ASK_S, WAIT_MAX_S
from perdure_views.gateway.shapes import Answered, Taken, Updated

STAGES: Final = ("accepted", "completed")
ENDED: Final = ("completed", "rejected")


async def signal_workflow(call: Call) -> Taken:
    """Send a signal."""
    body: Signal = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    values = [payload_of(value) for value in body.input]

    def make(reply: ReplyTo) -> Record:
        return message_commands.SignalWorkflow(
            workflow_id=body.workflow_id,
            run_id=body.run_id,
            signal_name=body.signal_name,
            input=values,
            request_id=body.request_id or reply.correlation_id,
            first_sent_ms=int(time.time() * 1000),
            identity=call.principal.name,
            reply=reply,
            buffer_ms=body.buffer_ms,
        )

    return await command(call, f"signal {body.signal_name!r}", body.workflow_id, queue, make)


async def query_workflow(call: Call) -> Answered:
    """Ask the code of a run."""
    body: Query = call.body
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    values = [payload_of(value) for value in body.input]
    what = f"query {body.query_name!r} of workflow {body.workflow_id!r}"
    answer = await call.backend.ask(
        what,
        lambda reply: message_commands.QueryWorkflow(
            workflow_id=body.workflow_id,
            run_id=body.run_id,
            query_name=body.query_name,
            input=values,
            reject_condition=body.reject_condition,
            identity=call.principal.name,
            reply=reply,
        ),
        workflow_id=body.workflow_id,
        task_queue=queue,
        timeout_s=ASK_S,
    )
    return Answered(**shown(expect(QueryAnswer, what, answer)))


async def update_workflow(call: Call) -> Updated:
    """Ask for an update, and wait for its stage at most so long; then say how far it is."""
    body: Update = call.body
    if body.stage not in STAGES or not 0 <= body.wait_s <= WAIT_MAX_S:
        raise ProblemError(
            "invalid", f"stage is accepted or completed, wait_s 0 to {WAIT_MAX_S:.0f}"
        )
    queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)
    update_id = body.update_id or uuid.uuid4().hex
    values = [payload_of(value) for value in body.input]
    what = f"update {body.update_name!r} of workflow {body.workflow_id!r}"

    def make(reply: ReplyTo) -> Record:
        return message_commands.UpdateWorkflow(
            workflow_id=body.workflow_id,
            run_id=body.run_id,
            update_name=body.update_name,
            update_id=update_id,
            input=values,
            request_id=body.request_id or reply.correlation_id,
            first_sent_ms=int(time.time() * 1000),
            identity=call.principal.name,
            reply=reply,
        )

    answer = await call.backend.ask(
        what, make, workflow_id=body.workflow_id, task_queue=queue, timeout_s=ASK_S
    )
    run_id = answer.run_id if isinstance(answer, Accepted) else ""
    if not isinstance(answer, Accepted):
        found = expect(UpdateAnswer, what, answer)
        if found.stage in ENDED or body.stage == "accepted":
            return Updated(**shown(found))
        run_id = found.run_id
    return await _outcome(call, what, body, update_id, run_id, queue)


async def _outcome(
    call: Call, what: str, body: Update, update_id: str, run_id: str, queue: str
) -> Updated:
    try:
        answer = await call.backend.ask(
            what,
            lambda reply: message_commands.AwaitUpdate(
                workflow_id=body.workflow_id,
                run_id=run_id,
                update_id=update_id,
                stage=body.stage,
                reply=reply,
            ),
            workflow_id=body.workflow_id,
            task_queue=queue,
            timeout_s=max(float(body.wait_s), 0.1),
            is_prompt=False,
        )
    except BackendError as error:
        if error.code != "deadline_exceeded":
            raise
        return Updated(update_id=update_id, run_id=run_id, stage="accepted")
    return Updated(**shown(expect(UpdateAnswer, what, answer)))


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/api/v1/workflow/signal",
        name="signalWorkflow",
        says="Send a signal.",
        role="operate",
        answers=signal_workflow,
        body=Signal,
        answer=Taken,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/workflow/query",
        name="queryWorkflow",
        says="Ask the code of a run for a value; nothing is written.",
        role="read",
        answers=query_workflow,
        body=Query,
        answer=Answered,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/workflow/update",
        name="updateWorkflow",
        says="Ask for an update, and wait for its outcome.",
        role="operate",
        answers=update_workflow,
        body=Update,
        answer=Updated,
    ),
)
