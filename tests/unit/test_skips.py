"""One input that holds its partition up can be put aside by a person."""

from __future__ import annotations

from typing import Any

import pytest

from perdure import workflow
from perdure_actors.partition.schema_framing import Framing
from perdure_schemas.operator_commands import SkipInput
from perdure_schemas.replies import Accepted, Refused
from perdure_topics.schema_registry_port import OnItsWay
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)


@workflow.defn(sandboxed=False)
class Quiet:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


def skip(world: HostWorld, offset: int, *, partition: int = 0) -> str:
    """Ask for an input to be skipped; the correlation id of the answer."""
    world.asked += 1
    name = f"skip {world.asked}"
    world.send(
        SkipInput(
            partition=partition,
            offset=offset,
            reason="it kills its hosts",
            request_id=name,
            reply=world.reply_to(name),
            identity="olga",
        ),
        partition=0,
    )
    return name


def test_an_input_that_kills_its_hosts_is_put_aside() -> None:
    world = HostWorld([Quiet])
    world.run(1_000)
    make = world.code.make
    tried: list[str] = []

    def kills(started: Any, facts: Any) -> Any:
        if facts.workflow_id == "bad":
            tried.append("bad")
            raise KeyboardInterrupt  # as good as dead: no fence is round it
        return make(started, facts)

    world.code.make = kills  # type: ignore[method-assign]
    bad = world.start("Quiet", "bad")
    good = world.start("Quiet", "good")
    while len(tried) < 4:
        try:
            world.run(500)
        except KeyboardInterrupt:
            world.die()
    asked = skip(world, 0)
    world.run(15_000)

    assert isinstance(world.answer(asked), Accepted)
    assert isinstance(world.answer(good), Accepted)
    assert world.answer(bad).code == "skipped"
    assert world.dead() == ["skipped by olga: it kills its hosts"]
    assert len(tried) == 4, "it was not given to the code again"
    assert len(world.said("input_skipped")) == 1


class AwayRegistry:
    """A schema registry that does not answer."""

    address = "http://away"

    def look_up(self, _schema_id: int, **_more: Any) -> OnItsWay:
        return OnItsWay("it does not answer")


def test_an_input_that_waits_for_its_schema_is_put_aside() -> None:
    world = HostWorld([Quiet])
    away: Any = AwayRegistry()
    world.host.close()
    world.framing = Framing(away, lambda: None)
    world.host = world._make()
    world.run(1_000)
    held = world.write(b"\0\0\0\0\7abc")
    good = world.start("Quiet", "good")
    world.run(2_000)
    assert world.answer(good) is None

    asked = skip(world, held)
    world.run(4_000)

    assert isinstance(world.answer(good), Accepted)
    assert isinstance(world.answer(asked), Accepted)
    assert world.dead() == ["skipped by olga: it kills its hosts"]


def test_an_input_that_was_decided_is_not_skipped() -> None:
    world = HostWorld([Quiet])
    world.start("Quiet", "good")
    world.run(1_000)

    for offset, partition in ((0, 0), (99, 0), (0, 7), (-5, 0), (2**62, 0)):
        asked = skip(world, offset, partition=partition)
        world.run(1_000)
        answer = world.answer(asked)
        assert isinstance(answer, Refused), (offset, partition)
        assert answer.code == "passed"
    assert not world.dead()
