"""Endpoints of pending activities: pause, retry, fail and others, one row an operation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from perdure_schemas import operator_commands
from perdure_schemas.payloads import Failure, FailureCause, Record, ReplyTo
from perdure_views.gateway.bodies import (
    FailAct,
    OfActivity,
    PauseAct,
    ResetAct,
    RetryAct,
    UnpauseAct,
)
from perdure_views.gateway.endpoints import Answers, Call, Endpoint
from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.requests import command, queue_of
from perdure_views.gateway.shapes import Taken


def _pause(body: PauseAct) -> dict[str, Any]:
    return {"reason": body.reason}


def _unpause(body: UnpauseAct) -> dict[str, Any]:
    return {"reset_attempts": body.reset_attempts, "reset_heartbeat": body.reset_heartbeat}


def _reset(body: ResetAct) -> dict[str, Any]:
    return {"keep_paused": body.keep_paused, "reset_heartbeat": body.reset_heartbeat}


def _retry(_: RetryAct) -> dict[str, Any]:
    return {}


def _fail(body: FailAct) -> dict[str, Any]:
    cause = FailureCause(message=body.message, type=body.type, non_retryable=True)
    return {"failure": Failure(chain=[cause])}


def _acting(what: str, kind: type[Record], more: Callable[[Any], dict[str, Any]]) -> Answers:
    """The handler that sends a command about an activity."""

    async def act(call: Call) -> Taken:
        body: OfActivity = call.body
        if not body.activity_id and not body.activity_type:
            raise ProblemError("invalid", "give activity_id, or activity_type for all of a type")
        queue = await queue_of(call.backend, body.workflow_id, body.run_id, body.task_queue)

        def make(reply: ReplyTo) -> Record:
            return kind(
                workflow_id=body.workflow_id,
                run_id=body.run_id,
                activity_id=body.activity_id,
                activity_type=body.activity_type,
                request_id=body.request_id or reply.correlation_id,
                first_sent_ms=int(time.time() * 1000),
                identity=call.principal.name,
                reply=reply,
                **more(body),
            )

        name = body.activity_id or body.activity_type
        return await command(call, f"{what} of activity {name}", body.workflow_id, queue, make)

    return act


_ACTS: Final = (
    ("pause", PauseAct, operator_commands.PauseActivity, _pause),
    ("unpause", UnpauseAct, operator_commands.UnpauseActivity, _unpause),
    ("reset", ResetAct, operator_commands.ResetActivity, _reset),
    ("retry", RetryAct, operator_commands.RetryActivityNow, _retry),
    ("fail", FailAct, operator_commands.FailActivityNow, _fail),
)

ENDPOINTS: Final = tuple(
    Endpoint(
        method="POST",
        path=f"/api/v1/activity/{name}",
        name=f"{name}Activity",
        says=(kind.__doc__ or "").partition("\n")[0],
        role="operate",
        answers=_acting(name, kind, more),
        body=body,
        answer=Taken,
    )
    for name, body, kind, more in _ACTS
)
