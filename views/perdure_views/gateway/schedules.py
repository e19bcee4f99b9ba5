"""Endpoints of schedules: list, describe, pause, trigger and others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from perdure_views.gateway.backend import ScheduleBackend
from perdure_views.gateway.bodies import (
    BackfillSchedule,
    CreateSchedule,
    DeleteSchedule,
    OfSchedule,
    PauseSchedule,
    TriggerSchedule,
    UnpauseSchedule,
)
from perdure_views.gateway.endpoints import Answers, Call, Endpoint, Param
from perdure_views.gateway.shapes import Schedules, ScheduleShape, ScheduleTaken

SCHEDULES_MAX: Final = 500


async def list_schedules(call: Call) -> Schedules:
    """The schedules of the namespace."""
    backend = call.backend.schedules(call.principal.name)
    return await backend.listed(begins=call.text("begins"), most=call.number("limit"))


async def describe_schedule(call: Call) -> ScheduleShape:
    """How a schedule stands."""
    return await call.backend.schedules(call.principal.name).described(call.text("id"))


async def create_schedule(call: Call) -> ScheduleTaken:
    """Make a schedule."""
    wanted: CreateSchedule = call.body
    await call.backend.schedules(call.principal.name).create(wanted)
    return ScheduleTaken(schedule_id=wanted.schedule_id)


def _pause(backend: ScheduleBackend, body: PauseSchedule) -> Awaitable[None]:
    return backend.pause(body.schedule_id, body.note)


def _unpause(backend: ScheduleBackend, body: UnpauseSchedule) -> Awaitable[None]:
    return backend.unpause(body.schedule_id, body.note)


def _trigger(backend: ScheduleBackend, body: TriggerSchedule) -> Awaitable[None]:
    return backend.trigger(body.schedule_id, body.overlap)


def _backfill(backend: ScheduleBackend, body: BackfillSchedule) -> Awaitable[None]:
    return backend.backfill(body.schedule_id, (body.from_ms, body.to_ms), body.overlap)


def _delete(backend: ScheduleBackend, body: DeleteSchedule) -> Awaitable[None]:
    return backend.delete(body.schedule_id)


def _telling(tell: Callable[[ScheduleBackend, Any], Awaitable[None]]) -> Answers:
    """The handler that tells a schedule something."""

    async def act(call: Call) -> ScheduleTaken:
        body: OfSchedule = call.body
        await tell(call.backend.schedules(call.principal.name), body)
        return ScheduleTaken(schedule_id=body.schedule_id)

    return act


_ACTS: Final = (
    ("pause", PauseSchedule, _pause),
    ("unpause", UnpauseSchedule, _unpause),
    ("trigger", TriggerSchedule, _trigger),
    ("backfill", BackfillSchedule, _backfill),
    ("delete", DeleteSchedule, _delete),
)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/api/v1/schedules",
        name="listSchedules",
        says="The schedules of the namespace.",
        role="read",
        answers=list_schedules,
        params=(
            Param(name="begins", says="only those whose ids begin so"),
            Param(
                name="limit",
                says="so many at most",
                is_number=True,
                default="100",
                least=1,
                most=SCHEDULES_MAX,
            ),
        ),
        answer=Schedules,
    ),
    Endpoint(
        method="POST",
        path="/api/v1/schedules",
        name="createSchedule",
        says="Make a schedule; it lives on the task queue of what it starts.",
        role="operate",
        answers=create_schedule,
        body=CreateSchedule,
        answer=ScheduleTaken,
        status=201,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/schedule",
        name="describeSchedule",
        says="How a schedule stands: what it has done, left out and will do.",
        role="read",
        answers=describe_schedule,
        params=(Param(name="id", says="the schedule's id", is_required=True),),
        answer=ScheduleShape,
    ),
    *(
        Endpoint(
            method="POST",
            path=f"/api/v1/schedule/{name}",
            name=f"{name}Schedule",
            says=(kind.__doc__ or "").partition("\n")[0],
            role="operate",
            answers=_telling(tell),
            body=kind,
            answer=ScheduleTaken,
        )
        for name, kind, tell in _ACTS
    ),
)
