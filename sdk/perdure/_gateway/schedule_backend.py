"""The gateway's backend of schedules over a client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from perdure._gateway.backend_errors import coded
from perdure._schedules.schedule import (
    CATCHUP_WINDOW_DEFAULT,
    Schedule,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleInfo,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
)
from perdure._schedules.schedule_records import WORKFLOW_ID_PREFIX
from perdure._schedules.spec import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)
from perdure.client import Client
from perdure.client._schedule_descriptions import ScheduleAsyncIterator, whole_of
from perdure.client._schedule_handle import ScheduleHandle
from perdure.converter._payload_codecs import payload_record
from perdure_views.gateway.bodies import CreateSchedule
from perdure_views.gateway.render import payload_of, shown
from perdure_views.gateway.settings import ASK_S
from perdure_views.gateway.shapes import ActionShape, Schedules, ScheduleShape

_WITHIN: Final = timedelta(seconds=ASK_S)
_MIDNIGHT: Final = ScheduleCalendarSpec()


class SchedulesOf:
    """The schedules of a client's namespace, in the name of a person."""

    def __init__(self, client: Client, principal: str) -> None:
        connection = client.connection
        self._client = Client(
            connection.through(connection.codecs, principal), data_converter=client.data_converter
        )

    def _handle(self, schedule_id: str) -> ScheduleHandle:
        if not schedule_id:
            raise ValueError("schedule_id is empty: give the schedule's id")
        return self._client.get_schedule_handle(schedule_id)

    async def listed(self, *, begins: str, most: int) -> Schedules:
        """The schedules whose ids begin so, at most so many."""
        found: list[ScheduleShape] = []
        with coded():
            async for one in await self._each(begins, most + 1):
                if len(found) == most:
                    return Schedules(schedules=found, more=True)
                if one.raw_listed is not None:
                    found.append(_shape(one.id, *whole_of(one.id, one.raw_listed)))
                else:
                    # It has not begun yet: no host has its queue, or none has come to it.
                    found.append(await self.described(one.id))
        return Schedules(schedules=found)

    async def _each(self, begins: str, size: int) -> ScheduleAsyncIterator:
        prefix = (WORKFLOW_ID_PREFIX + begins).replace("\\", "\\\\").replace("'", "''")
        return await self._client.list_schedules(
            f"WorkflowId STARTS_WITH '{prefix}'" if begins else None,
            page_size=size,
            rpc_timeout=_WITHIN,
        )

    async def described(self, schedule_id: str) -> ScheduleShape:
        """How a schedule stands."""
        with coded():
            found = await self._handle(schedule_id).describe(rpc_timeout=_WITHIN)
            return _shape(found.id, found.schedule, found.info, with_input=True)

    async def create(self, wanted: CreateSchedule) -> None:
        """Make a schedule."""
        with coded():
            if not wanted.schedule_id:
                raise ValueError("schedule_id is empty: give the schedule's id")
            await self._client.create_schedule(
                wanted.schedule_id,
                _schedule(wanted),
                trigger_immediately=wanted.trigger_immediately,
                rpc_timeout=_WITHIN,
            )

    async def pause(self, schedule_id: str, note: str) -> None:
        """Let it take no actions."""
        with coded():
            said = note or f"paused by {self._client.identity}"
            await self._handle(schedule_id).pause(note=said, rpc_timeout=_WITHIN)

    async def unpause(self, schedule_id: str, note: str) -> None:
        """Let it take actions again."""
        with coded():
            said = note or f"let go on by {self._client.identity}"
            await self._handle(schedule_id).unpause(note=said, rpc_timeout=_WITHIN)

    async def trigger(self, schedule_id: str, overlap: str) -> None:
        """Let it take an action now."""
        with coded():
            policy = _overlap(overlap)
            await self._handle(schedule_id).trigger(overlap=policy, rpc_timeout=_WITHIN)

    async def backfill(self, schedule_id: str, span: tuple[int, int], overlap: str) -> None:
        """Let it take the actions of a span of time now."""
        with coded():
            start, end = (_moment(edge_ms) for edge_ms in span)
            wanted = ScheduleBackfill(start, end, _overlap(overlap))
            await self._handle(schedule_id).backfill(wanted, rpc_timeout=_WITHIN)

    async def delete(self, schedule_id: str) -> None:
        """End it; what it has started goes on."""
        with coded():
            await self._handle(schedule_id).delete(rpc_timeout=_WITHIN)


def _moment(time_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{time_ms} ms is no time") from error


def _overlap(name: str) -> ScheduleOverlapPolicy | None:
    if not name:
        return None
    try:
        return ScheduleOverlapPolicy[name.upper()]
    except KeyError:
        names = ", ".join(policy.name.lower() for policy in ScheduleOverlapPolicy)
        raise ValueError(f"{name!r} is no overlap policy: give one of {names}") from None


def _span(length_ms: int) -> timedelta | None:
    return timedelta(milliseconds=length_ms) if length_ms else None


def _schedule(wanted: CreateSchedule) -> Schedule:
    """A schedule as it came in. Raises ValueError for one that cannot be followed."""
    action = ScheduleActionStartWorkflow(
        wanted.workflow_type,
        args=[payload_of(value) for value in wanted.input],
        id=wanted.workflow_id,
        task_queue=wanted.task_queue,
    )
    return Schedule(
        action=action,
        spec=ScheduleSpec(
            cron_expressions=wanted.cron_expressions,
            intervals=[
                ScheduleIntervalSpec(timedelta(milliseconds=every_ms))
                for every_ms in wanted.every_ms
            ],
            time_zone_name=wanted.time_zone or None,
            jitter=_span(wanted.jitter_ms),
        ),
        policy=SchedulePolicy(
            overlap=_overlap(wanted.overlap) or ScheduleOverlapPolicy.SKIP,
            catchup_window=_span(wanted.catchup_window_ms),
            pause_on_failure=wanted.pause_on_failure,
        ),
        state=ScheduleState(
            note=wanted.note or None,
            paused=wanted.paused,
            limited_actions=wanted.remaining_actions != 0,
            remaining_actions=wanted.remaining_actions,
        ),
    )


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1000)


def _length_ms(length: timedelta | None) -> int:
    return 0 if length is None else round(length.total_seconds() * 1000)


def _shape(
    schedule_id: str, schedule: Schedule, info: ScheduleInfo, *, with_input: bool = False
) -> ScheduleShape:
    action: Any = schedule.action
    spec, policy, state = schedule.spec, schedule.policy, schedule.state
    return ScheduleShape(
        schedule_id=schedule_id,
        workflow_type=action.workflow,
        workflow_id=action.id,
        task_queue=action.task_queue,
        when=list(spec_words(spec)),
        time_zone=spec.time_zone_name or "UTC",
        start_ms=_ms(spec.start_at),
        end_ms=_ms(spec.end_at),
        jitter_ms=_length_ms(spec.jitter),
        overlap=policy.overlap.name.lower(),
        catchup_window_ms=_length_ms(policy.catchup_window or CATCHUP_WINDOW_DEFAULT),
        pause_on_failure=policy.pause_on_failure,
        paused=state.paused,
        note=state.note or "",
        remaining_actions=state.remaining_actions if state.limited_actions else -1,
        actions=info.num_actions,
        missed=info.num_actions_missed_catchup_window,
        skipped=info.num_actions_skipped_overlap,
        running=[
            ActionShape(
                due_ms=0,
                taken_ms=0,
                workflow_id=getattr(one, "workflow_id", ""),
                run_id=getattr(one, "first_execution_run_id", ""),
            )
            for one in info.running_actions
        ],
        recent=[_action(one) for one in info.recent_actions],
        next_ms=[_ms(one) for one in info.next_action_times],
        created_ms=_ms(info.created_at),
        updated_ms=_ms(info.last_updated_at),
        actor_id=WORKFLOW_ID_PREFIX + schedule_id,
        input=[shown(payload_record(value)) for value in action.args] if with_input else [],
    )


def _action(one: ScheduleActionResult) -> ActionShape:
    return ActionShape(
        due_ms=_ms(one.scheduled_at),
        taken_ms=_ms(one.started_at),
        workflow_id=getattr(one.action, "workflow_id", ""),
        run_id=getattr(one.action, "first_execution_run_id", ""),
        reason=one.reason,
    )


def spec_words(spec: ScheduleSpec) -> Iterator[str]:
    """When a schedule acts, a sentence a calendar, interval or cron expression."""
    for expression in spec.cron_expressions:
        yield f"cron {expression}"
    for interval in spec.intervals:
        later = f", {_length_words(interval.offset)} later" if interval.offset else ""
        yield f"every {_length_words(interval.every)}{later}"
    for calendar in spec.calendars:
        yield _calendar_words(calendar)
    for calendar in spec.skip:
        yield f"not {_calendar_words(calendar)}"


def _length_words(length: timedelta) -> str:
    words = []
    rest = length.total_seconds()
    for name, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        count, rest = divmod(rest, seconds)
        if count:
            words.append(f"{count:.0f} {name}")
    if rest or not words:
        words.append(f"{rest:g} s")
    return " ".join(words)


def _calendar_words(calendar: ScheduleCalendarSpec) -> str:
    """The parts that are not those of a midnight of each day."""
    words = []
    for field in reversed(fields(calendar)):
        given = getattr(calendar, field.name)
        if field.name != "comment" and given != getattr(_MIDNIGHT, field.name):
            words.append(f"{field.name.replace('_', ' ')} {_ranges(given)}")
    comment = f" ({calendar.comment})" if calendar.comment else ""
    return ("at " + ", ".join(words) if words else "at midnight") + comment


def _ranges(ranges: Sequence[ScheduleRange]) -> str:
    return ",".join(
        f"{one.start}"
        + (f"-{one.end}" if one.end != one.start else "")
        + (f"/{one.step}" if one.step != 1 else "")
        for one in ranges
    )
