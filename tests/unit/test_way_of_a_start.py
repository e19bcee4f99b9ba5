"""The way of a StartWorkflow: the modules that it passes from its record to its acceptance.

A module is passed when it has a call under way at one of the moments of the record's life: it is
decoded, decided, its event is applied, the code of the run takes it, a record is appended, the
table is written. Frames of coroutines are the code of the run itself, which its loop resumes: no
call of a module. What is called and has returned by then (a table's keys, weights, dedup) is a
helper; how many there are is held as well.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType

import pytest

import perdure_actors
from perdure import workflow
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.replies import Accepted
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)
ACTORS = f"{Path(perdure_actors.__file__).parent}/"
PAGE = Path(__file__).parents[2] / "docs/architecture.md"
PASSED_MAX = 14
HELPERS_MAX = 44
"""Neither may grow."""
MOMENTS = {
    "perdure_schemas/avro.py": {"decode": "decoded"},
    "core/start.py": {"decide_start": "decided"},
    "core/execution.py": {"apply_started": "applied"},
    "test_way_of_a_start.py": {"Greeting.run": "taken by the code"},
    "simulated/clients.py": {"SimulatedAppender.append": "appended"},
    "memory_tables.py": {"MemoryTable.write": "written"},
}


@workflow.defn(sandboxed=False)
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"hello {name}"


def module_of(code: CodeType) -> str:
    """The module of actors that a frame is of; empty for others, and for coroutines."""
    file = code.co_filename
    if not file.startswith(ACTORS) or code.co_flags & inspect.CO_COROUTINE:
        return ""
    return file.removeprefix(ACTORS).removesuffix(".py")


def moment_of(code: CodeType) -> str:
    for file, names in MOMENTS.items():
        if code.co_filename.endswith(file):
            return names.get(code.co_qualname, "")
    return ""


def frames_of(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


class Walk:
    """Follows one start through the host's thread."""

    def __init__(self) -> None:
        self.stacks: dict[str, list[str]] = {}
        """The modules that are under way at each moment, each once for its calls in a row."""
        self.helpers: set[str] = set()
        self._within = 0

    def look(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        on_way = code.co_qualname in ("Inbox._take_one", "Journal.accept")
        if event == "return":
            self._within -= on_way
            return
        if event != "call":
            return
        self._within += on_way
        if not self._within:
            return
        module = module_of(code)
        if module:
            self.helpers.add(module)
        moment = moment_of(code)
        if moment:
            modules = [module_of(one.f_code) for one in frames_of(frame)][::-1]
            found = [module for module in modules if module]
            self.stacks[moment] = [
                module
                for place, module in enumerate(found)
                if place == 0 or module != found[place - 1]
            ]

    @property
    def passed(self) -> set[str]:
        return {module for stack in self.stacks.values() for module in stack}

    @property
    def steps(self) -> set[tuple[str, str]]:
        return {step for stack in self.stacks.values() for step in pairwise(stack)}


@pytest.fixture(scope="module")
def walk() -> Walk:
    """One start, followed; another before it, so that what is loaded late is loaded."""
    world = HostWorld([Greeting])
    given = DefaultPayloadConverter().to_payloads(["you"])
    world.run(500)
    world.start("Greeting", "before", input=given)
    world.run(500)
    asked = world.start("Greeting", "w", input=given)
    walk = Walk()
    sys.setprofile(walk.look)
    try:
        world.run(100)
    finally:
        sys.setprofile(None)
    assert isinstance(world.answer(asked), Accepted)
    return walk


def drawn() -> tuple[set[str], set[tuple[str, str]]]:
    """The modules and the steps of the picture on the page."""
    block = PAGE.read_text().split("```mermaid\n", 1)[1].split("```", 1)[0]
    names: dict[str, str] = dict(re.findall(r'(\w+)\["([\w/]+)"\]', block))
    steps = set()
    for line in block.splitlines():
        nodes = [re.sub(r"\[.*", "", node.strip()) for node in line.split("-->")]
        steps |= {(names[a], names[b]) for a, b in pairwise(nodes)}
    return set(names.values()), steps


def test_every_moment_of_the_record_is_seen(walk: Walk) -> None:
    assert set(walk.stacks) == {name for names in MOMENTS.values() for name in names.values()}


def test_few_modules_are_passed_and_none_is_entered_twice(walk: Walk) -> None:
    for moment, stack in walk.stacks.items():
        assert len(stack) == len(set(stack)), f"one calls back before it is {moment}: {stack}"
    assert len(walk.passed) <= PASSED_MAX, sorted(walk.passed)


def test_what_is_called_on_the_way_grows_no_more(walk: Walk) -> None:
    assert len(walk.helpers - walk.passed) <= HELPERS_MAX, sorted(walk.helpers - walk.passed)


def test_the_picture_shows_the_way_as_it_is(walk: Walk) -> None:
    modules, steps = drawn()
    assert modules == walk.passed
    assert steps == walk.steps
