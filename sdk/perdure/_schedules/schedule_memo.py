"""A schedule's memo for lists, and its description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from perdure import workflow
from perdure._schedules.schedule_records import (
    ID_ATTRIBUTE,
    LISTED_KEY,
    LISTED_MAX,
    OWN_ATTRIBUTES,
    PAUSED_ATTRIBUTE,
    Described,
    Listed,
    SchedulerState,
    encode,
)
from perdure._schedules.times import Times
from perdure.common import SearchAttributeKey
from perdure.workflow._info import change_facts, facts_of
from perdure_actors.replay.runtime import current
from perdure_schemas.fact_events import SearchAttributesUpserted
from perdure_schemas.payloads import Payload

NEXT_SHOWN = 10
_ID = SearchAttributeKey.for_keyword(ID_ATTRIBUTE)
_PAUSED = SearchAttributeKey.for_bool(PAUSED_ATTRIBUTE)
_SHOWN = "schedule shown"


Running = Sequence[tuple[str, str]]


def is_over(state: SchedulerState) -> bool:
    """Whether a schedule has taken all the actions that it is limited to."""
    return state.schedule.state._is_over


def next_times(times: Times, state: SchedulerState, count: int) -> list[datetime]:
    """When the schedule acts next, as far as it looked at its times."""
    assert state.standing is not None, "a schedule that acts has its standing"
    found: list[datetime] = []
    at = state.standing.upto
    while len(found) < count and not is_over(state) and (nominal := times.next(at)) is not None:
        found.append(times.act_at(nominal))
        at = nominal
    return found


def described(state: SchedulerState, times: Times, running: Running) -> Described:
    """How a schedule stands, for the one who asks."""
    assert state.standing is not None, "a schedule that acts has its standing"
    facts = facts_of(current())
    return Described(
        schedule=state.schedule,
        standing=state.standing,
        running=list(running),
        next_times=next_times(times, state, NEXT_SHOWN),
        memo={key: value for key, value in facts.memo.items() if key != LISTED_KEY},
        search_attributes=_of_users(facts.search_attributes),
    )


def _of_users(held: Mapping[str, Payload]) -> dict[str, Payload]:
    return {key: value for key, value in held.items() if key not in OWN_ATTRIBUTES}


def show(state: SchedulerState, times: Times, running: Running) -> None:
    """Keep what lists show of a schedule, where anything of it has changed."""
    schedule, standing, run = state.schedule, state.standing, current()
    assert standing is not None, "a schedule that acts has its standing"
    listed = encode(
        Listed(
            workflow=schedule.action.workflow,
            workflow_id=schedule.action.id,
            task_queue=schedule.action.task_queue,
            spec=schedule.spec,
            policy=schedule.policy,
            state=schedule.state,
            upto=standing.upto,
            created_at=standing.created_at,
            updated_at=standing.updated_at,
            num_actions=standing.num_actions,
            num_missed=standing.num_missed,
            num_skipped=standing.num_skipped,
            num_running=len(running),
            running=list(running[:LISTED_MAX]),
            recent=standing.recent[-LISTED_MAX:],
            next_times=next_times(times, state, LISTED_MAX),
        )
    )
    if run.kept.get(_SHOWN) != listed:
        run.kept[_SHOWN] = listed
        workflow.upsert_memo({LISTED_KEY: listed})
    info = workflow.info().typed_search_attributes
    if info.get(_ID) != state.schedule_id:
        workflow.upsert_search_attributes([_ID.value_set(state.schedule_id)])
    if info.get(_PAUSED) != schedule.state.paused:
        workflow.upsert_search_attributes([_PAUSED.value_set(schedule.state.paused)])


def change_attributes(wanted: Mapping[str, Payload]) -> None:
    """Give a schedule these search attributes of the user's, and no others."""
    run = current()
    held = _of_users(facts_of(run).search_attributes)
    gone = {name: Payload(encoding="binary/null") for name in held if name not in wanted}
    updates = {**gone, **{name: one for name, one in wanted.items() if held.get(name) != one}}
    if updates:
        run.ask(SearchAttributesUpserted(search_attributes=updates, call_site="a schedule"))
        change_facts(run, search_attributes=updates)
