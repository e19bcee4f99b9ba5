"""Schedules as `describe` and lists show them, from what their workflows keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from perdure._schedules import action as actions
from perdure._schedules.schedule import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleInfo,
    ScheduleState,
)
from perdure._schedules.schedule_records import (
    LISTED_KEY,
    LISTED_MAX,
    OWN_ATTRIBUTES,
    WORKFLOW_ID_PREFIX,
    Described,
    Done,
    Listed,
    decode_listed,
)
from perdure._schedules.spec import ScheduleSpec
from perdure._schedules.times import Times
from perdure._search_attribute_payloads import attribute_pairs
from perdure.client._executions import WorkflowExecution, WorkflowExecutionAsyncIterator
from perdure.client._pages import Pages
from perdure.common import SearchAttributes, TypedSearchAttributes
from perdure.converter import DataConverter, records_converter
from perdure_actors.replay.contexts import for_workflow
from perdure_schemas.contexts import WorkflowSerializationContext

T = TypeVar("T")
NEXT_SHOWN = 10


@dataclass
class ScheduleDescription:
    """A schedule, and what it has done and will do."""

    id: str
    schedule: Schedule
    info: ScheduleInfo
    typed_search_attributes: TypedSearchAttributes
    search_attributes: SearchAttributes
    data_converter: DataConverter = field(repr=False)
    raw_description: Described = field(repr=False)

    async def memo(self) -> Mapping[str, Any]:
        """The values that were kept with the schedule when it was made."""
        return {key: await self.memo_value(key) for key in self.raw_description.memo}

    async def memo_value(
        self, key: str, default: Any = ..., *, type_hint: type[T] | None = None
    ) -> Any:
        """One of these values. Raises KeyError when there is none and no default."""
        payload = self.raw_description.memo.get(key)
        if payload is None:
            return _default(self.id, key, default)
        # The actor has decoded it; only its answer went through the codec.
        what = f"the memo {key!r} of schedule {self.id!r}"
        return records_converter(self.data_converter).from_payload(payload, type_hint, what=what)


def _default(schedule_id: str, key: str, default: Any) -> Any:
    """What a schedule's memo holds under a key that it does not have."""
    if default is ...:
        raise KeyError(f"the memo of schedule {schedule_id!r} has no {key!r}")
    return default


@dataclass
class ScheduleUpdateInput:
    """What an updater is given."""

    description: ScheduleDescription


class ScheduleListAction:
    """What a schedule does, as a list shows it."""


@dataclass
class ScheduleListActionStartWorkflow(ScheduleListAction):
    """Starts a workflow of a type."""

    workflow: str


@dataclass
class ScheduleListState:
    """Whether a schedule acts at all, as a list shows it."""

    note: str | None
    paused: bool


@dataclass
class ScheduleListSchedule:
    """What a list shows of a schedule itself."""

    action: ScheduleListAction
    spec: ScheduleSpec
    state: ScheduleListState


@dataclass
class ScheduleListInfo:
    """What a list shows of what a schedule has done and will do."""

    recent_actions: Sequence[ScheduleActionResult]
    next_action_times: Sequence[datetime]
    num_actions: int = 0
    num_actions_missed_catchup_window: int = 0
    num_actions_skipped_overlap: int = 0
    num_running_actions: int = 0


@dataclass
class ScheduleListDescription:
    """A schedule as a list shows it. One made just now may show neither schedule nor info."""

    id: str
    schedule: ScheduleListSchedule | None
    info: ScheduleListInfo | None
    typed_search_attributes: TypedSearchAttributes
    search_attributes: SearchAttributes
    data_converter: DataConverter = field(repr=False)
    raw_entry: WorkflowExecution = field(repr=False)
    """The run of its actor."""
    raw_listed: Listed | None = field(default=None, repr=False)
    """What its actor keeps for lists."""

    async def memo(self) -> Mapping[str, Any]:
        """The values that were kept with the schedule when it was made."""
        held = self.raw_entry.raw_info.memo
        return {key: await self.memo_value(key) for key in held if key != LISTED_KEY}

    async def memo_value(
        self, key: str, default: Any = ..., *, type_hint: type[T] | None = None
    ) -> Any:
        """One of these values. Raises KeyError when there is none and no default."""
        if key == LISTED_KEY or key not in self.raw_entry.raw_info.memo:
            return _default(self.id, key, default)
        return await self.raw_entry.memo_value(key, type_hint=type_hint)


class ScheduleAsyncIterator(Pages[ScheduleListDescription]):
    """Schedules of a namespace, in pages; `async for` takes each."""

    def __init__(self, runs: WorkflowExecutionAsyncIterator) -> None:
        self._runs = runs

    @property
    def silent_task_queues(self) -> Sequence[str]:
        """The task queues that did not answer so far: their schedules are not in the list."""
        return self._runs.silent_task_queues

    @property
    def next_page_token(self) -> bytes | None:
        """Where another list goes on after that page; None after the last one."""
        return self._runs.next_page_token

    @property
    def _is_done(self) -> bool:
        return self._page is not None and self.next_page_token is None

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Make the next page."""
        await self._runs.fetch_next_page(page_size=page_size)
        self._turn_to([await listed_of(run) for run in self._runs.current_page or ()])


def description_of(
    id: str, found: Described, converter: DataConverter, *, namespace: str
) -> ScheduleDescription:
    """A schedule as users see it, from what its actor tells."""
    record, standing = found.schedule, found.standing
    values = for_workflow(records_converter(converter), namespace, record.action.id)
    # What is kept with the schedule itself is its actor's.
    own = WorkflowSerializationContext(namespace, WORKFLOW_ID_PREFIX + id)
    info = ScheduleInfo(
        num_actions=standing.num_actions,
        num_actions_missed_catchup_window=standing.num_missed,
        num_actions_skipped_overlap=standing.num_skipped,
        running_actions=[ScheduleActionExecutionStartWorkflow(*one) for one in found.running],
        recent_actions=_results(standing.recent),
        next_action_times=_next_times(id, record.spec, record.state, standing.upto, NEXT_SHOWN),
        created_at=standing.created_at,
        last_updated_at=standing.updated_at,
    )
    pairs = attribute_pairs(found.search_attributes, values)
    return ScheduleDescription(
        id=id,
        schedule=Schedule(
            action=actions.action_of(record.action, values),
            spec=record.spec,
            policy=record.policy,
            state=record.state,
        ),
        info=info,
        typed_search_attributes=TypedSearchAttributes(pairs),
        search_attributes=_untyped(pairs),
        data_converter=converter.with_context(own),
        raw_description=found,
    )


def whole_of(id: str, listed: Listed) -> tuple[Schedule, ScheduleInfo]:
    """A schedule as far as lists know it: without the arguments of what it starts."""
    action = ScheduleActionStartWorkflow(
        listed.workflow, id=listed.workflow_id, task_queue=listed.task_queue
    )
    info = ScheduleInfo(
        num_actions=listed.num_actions,
        num_actions_missed_catchup_window=listed.num_missed,
        num_actions_skipped_overlap=listed.num_skipped,
        running_actions=[ScheduleActionExecutionStartWorkflow(*one) for one in listed.running],
        recent_actions=_results(listed.recent),
        next_action_times=_next_times(id, listed.spec, listed.state, listed.upto, LISTED_MAX),
        created_at=listed.created_at,
        last_updated_at=listed.updated_at,
    )
    return Schedule(action, listed.spec, listed.policy, listed.state), info


async def listed_of(run: WorkflowExecution) -> ScheduleListDescription:
    """A schedule as lists show it, from the run of its actor."""
    id = run.id.removeprefix(WORKFLOW_ID_PREFIX)
    data = await run.memo_value(LISTED_KEY, type_hint=bytes)
    listed = None if data is None else decode_listed(data)
    held = run.raw_info.search_attributes
    own = {key: value for key, value in held.items() if key not in OWN_ATTRIBUTES}
    pairs = attribute_pairs(own, records_converter(run.data_converter))
    return ScheduleListDescription(
        id=id,
        schedule=None if listed is None else _listed_schedule(listed),
        info=None if listed is None else _listed_info(id, listed),
        typed_search_attributes=TypedSearchAttributes(pairs),
        search_attributes=_untyped(pairs),
        data_converter=run.data_converter,
        raw_entry=run,
        raw_listed=listed,
    )


def _listed_schedule(listed: Listed) -> ScheduleListSchedule:
    return ScheduleListSchedule(
        action=ScheduleListActionStartWorkflow(listed.workflow),
        spec=listed.spec,
        state=ScheduleListState(note=listed.state.note, paused=listed.state.paused),
    )


def _listed_info(id: str, listed: Listed) -> ScheduleListInfo:
    _, whole = whole_of(id, listed)
    return ScheduleListInfo(
        recent_actions=whole.recent_actions,
        next_action_times=whole.next_action_times,
        num_actions=listed.num_actions,
        num_actions_missed_catchup_window=listed.num_missed,
        num_actions_skipped_overlap=listed.num_skipped,
        num_running_actions=listed.num_running,
    )


def _next_times(
    id: str, spec: ScheduleSpec, state: ScheduleState, upto: datetime, count: int
) -> list[datetime]:
    """When a schedule acts next. It sleeps while it is paused, so that its own may be past."""
    if state._is_over:
        return []
    times, now = Times(spec, seed=id), datetime.now(UTC)
    at = max(upto, now - (spec.jitter or timedelta(0)))
    found: list[datetime] = []
    while len(found) < count and (nominal := times.next(at)) is not None:
        due = times.act_at(nominal)
        if due > now:
            found.append(due)
        at = nominal
    return found


def _results(done: Sequence[Done]) -> list[ScheduleActionResult]:
    return [
        ScheduleActionResult(
            one.at,
            one.taken_at,
            ScheduleActionExecutionStartWorkflow(one.workflow_id, one.run_id)
            if one.run_id
            else None,
            one.reason,
        )
        for one in done
    ]


def _untyped(pairs: Sequence[Any]) -> SearchAttributes:
    return {
        pair.key.name: pair.value if isinstance(pair.value, list) else [pair.value]
        for pair in pairs
    }
