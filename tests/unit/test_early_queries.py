"""Queries that come before the first step of the run that they ask."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.message_commands import QueryWorkflow
from perdure_schemas.payloads import ReplyTo
from perdure_schemas.replies import QueryAnswer, Refused
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)
CONVERTER = DefaultPayloadConverter()


@workflow.defn(sandboxed=False)
class Renewing:
    def __init__(self) -> None:
        self.number = -1

    @workflow.run
    async def run(self, number: int, wait_ms: int) -> None:
        self.number = number
        if number < 1:
            workflow.continue_as_new(
                args=[number + 1, wait_ms],
                backoff_start_interval=timedelta(milliseconds=wait_ms) if wait_ms else None,
            )
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def which(self) -> int:
        return self.number


def ask(here: HostWorld, name: str, *, run_id: str = "", for_ms: int = 0) -> str:
    deadline_ms = here.host.services.clock.wall_ms() + for_ms if for_ms else 0
    reply = ReplyTo(partition=0, correlation_id=name, deadline_ms=deadline_ms)
    here.send(QueryWorkflow(workflow_id="w", query_name="which", run_id=run_id, reply=reply))
    return name


def next_run_of(here: HostWorld) -> str:
    (slot,) = here.host.slots.values()
    assert slot.shard is not None
    run = slot.shard.world.current("w")
    assert run is not None
    return run.actor.next_run_id


def value(answer: Any) -> Any:
    assert isinstance(answer, QueryAnswer), answer
    assert answer.result is not None
    return CONVERTER.from_payload(answer.result)


def made(wait_ms: int) -> HostWorld:
    here = HostWorld([Renewing])
    here.run(1_000)
    here.start("Renewing", "w", input=CONVERTER.to_payloads([0, wait_ms]))
    return here


@pytest.mark.parametrize("wait_ms", [0, 3_000])
def test_a_query_right_after_continue_as_new_is_answered_by_the_next_run(wait_ms: int) -> None:
    here = made(wait_ms)
    names = [ask(here, "at once")]
    here.turn()
    names.append(ask(here, "a turn later"))
    here.run(500)
    names.append(ask(here, "half a second later"))

    here.run(5_000)

    assert [value(here.answer(name)) for name in names] == [1, 1, 1]


def test_it_may_name_the_next_run_before_that_is_there() -> None:
    here = made(3_000)
    here.run(500)
    next_run_id = next_run_of(here)
    assert next_run_id
    name = ask(here, "by its id", run_id=next_run_id)

    here.run(5_000)

    assert value(here.answer(name)) == 1


def test_a_run_that_begins_much_later_is_not_waited_for() -> None:
    here = made(3_600_000)
    here.run(500)
    next_run_id = next_run_of(here)
    newest, named = ask(here, "newest"), ask(here, "named", run_id=next_run_id)

    here.run(500)

    assert value(here.answer(newest)) == 0, "as the run that ended stands"
    refused = here.answer(named)
    assert isinstance(refused, Refused)
    assert refused.code == "not_ready"


def test_who_has_given_up_is_not_answered() -> None:
    here = made(9_000)
    here.run(500)
    late, patient = ask(here, "late", for_ms=2_000), ask(here, "patient", for_ms=30_000)

    here.run(12_000)

    assert value(here.answer(patient)) == 1
    assert value(here.answer(late)) == 0, "it would not have waited: as the run that ended stands"


def test_a_delayed_start_is_waited_for() -> None:
    here = HostWorld([Renewing])
    here.run(1_000)
    here.start(
        "Renewing",
        "w",
        input=CONVERTER.to_payloads([5, 0]),
        start_delay_ms=2_000,
    )
    here.turn()
    name = ask(here, "early")

    here.run(1_000)
    assert here.answer(name) is None
    here.run(2_000)

    assert value(here.answer(name)) == 5


def test_what_waits_is_asked_again_after_a_take_over_by_who_asks() -> None:
    here = made(5_000)
    here.run(500)
    ask(here, "first")
    here.run(500)
    here.die()
    name = ask(here, "again")

    here.run(12_000)

    assert value(here.answer(name)) == 1
