"""Definitions: what is no workflow or no activity is refused with its line."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypedDict

import pytest

from perdure import activity, workflow
from perdure.common import RawValue
from perdure.contrib.pydantic import pydantic_data_converter
from perdure.converter._data_converter import records_converter
from perdure_actors.definitions.registry import (
    ActivityRegistry,
    WorkflowRegistry,
    activity_definition,
    code_version,
    workflow_definition,
)
from perdure_actors.definitions.signatures import DefinitionError
from perdure_actors.definitions.validation import define_activity
from perdure_actors.replay.blocked import BlockedError
from perdure_schemas.converters import check_type_hint
from perdure_schemas.events import WorkflowFailed
from tests.unit.player import Player

HERE = "tests/unit/test_definitions.py"


@workflow.defn
class Good:
    @workflow.run
    async def run(self, a: int, b: str = "x") -> list[int]:
        return [a]


@workflow.defn(name="Named", failure_exception_types=[KeyError])
class Other:
    @workflow.init
    def __init__(self, a: int) -> None:
        self.a = a

    @workflow.run
    async def run(self, a: int) -> None: ...


def test_a_workflow_is_known_by_its_class_and_by_its_run_method() -> None:
    good = workflow_definition(Good)

    assert good.name == "Good"
    assert good.where.startswith(f"{HERE}:")
    assert good.signature.names == ("a", "b")
    assert good.signature.arg_types == (int, str)
    assert good.signature.required == 1
    assert good.signature.result_type == list[int]
    assert workflow_definition(Good.run) is good
    other = workflow_definition(Other)
    assert other.name == "Named"
    assert other.takes_input_in_init
    assert other.failure_exception_types == (KeyError,)


def no_run() -> type:
    class Lonely:
        async def run(self) -> None: ...

    return workflow.defn(Lonely)


def two_runs() -> type:
    class Twofold:
        @workflow.run
        async def one(self) -> None: ...

        @workflow.run
        async def two(self) -> None: ...

    return workflow.defn(Twofold)


def inherited_run() -> type:
    return workflow.defn(type("Heir", (Good,), {}))


def plain_run() -> Any:
    run: Any = workflow.run

    @run
    def plain(self: Any) -> None: ...

    return plain


def keyword_run() -> type:
    class Keyword:
        @workflow.run
        async def run(self, *, a: int) -> None: ...

    return workflow.defn(Keyword)


def needy_init() -> type:
    class Needy:
        def __init__(self, a: int) -> None: ...

        @workflow.run
        async def run(self, a: int) -> None: ...

    return workflow.defn(Needy)


def other_init() -> type:
    class Unlike:
        @workflow.init
        def __init__(self, a: str) -> None: ...

        @workflow.run
        async def run(self, a: int) -> None: ...

    return workflow.defn(Unlike)


def init_elsewhere() -> Any:
    @workflow.init
    def start(self: Any) -> None: ...

    return start


def named_badly() -> type:
    class Fine:
        @workflow.run
        async def run(self) -> None: ...

    return workflow.defn(name="a\nb")(Fine)


def failing_with_no_exception() -> type:
    kinds: Any = [int]

    class Fine:
        @workflow.run
        async def run(self) -> None: ...

    return workflow.defn(failure_exception_types=kinds)(Fine)


def no_class() -> Any:
    decorate: Any = workflow.defn
    return decorate(print)


def yielding_activity() -> Any:
    def act() -> Any:
        yield 1

    define_activity(act)


def keyword_activity() -> Any:
    def act(*, a: int) -> None: ...

    define_activity(act)


def no_function() -> Any:
    thing: Any = 7
    define_activity(thing)


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (no_run, "no @workflow.run method"),
        (two_runs, r"2 @workflow.run methods \(tests/unit/test_definitions.py:\d+, tests"),
        (inherited_run, r"inherits its @workflow.run method from Good \(.*:\d+\)"),
        (plain_run, "`async def`"),
        (keyword_run, "pass one dataclass instead"),
        (needy_init, "needs a; mark it @workflow.init"),
        (other_init, "must take the parameters of run"),
        (init_elsewhere, "is for __init__"),
        (named_badly, "cannot have the name"),
        (failing_with_no_exception, "is no exception class"),
        (no_class, "is for classes"),
        (yielding_activity, "yields"),
        (keyword_activity, "by keyword"),
        (no_function, "is for functions"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(define: Callable[[], Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says) as refused:
        define()

    assert f"{HERE}:" in str(refused.value)
    assert str(refused.value).partition(":")[2].partition(":")[0].isdigit()


def test_what_is_no_definition_says_what_to_write() -> None:
    with pytest.raises(DefinitionError, match=r"put @activity.defn above it"):
        activity_definition(no_class)
    with pytest.raises(DefinitionError, match=r"give a class with @workflow.defn"):
        workflow_definition(type("Heir", (Good,), {}))


def test_two_workflows_of_one_name_are_refused_with_both_lines() -> None:
    @workflow.defn(name="Good")
    class Twin:
        @workflow.run
        async def run(self) -> None: ...

    assert WorkflowRegistry([Good, Good]).get("Good") is workflow_definition(Good)
    with pytest.raises(DefinitionError, match="two definitions with one workflow name") as refused:
        WorkflowRegistry([Good, Twin])
    assert str(refused.value).count(f"{HERE}:") == 2


def test_a_dynamic_workflow_says_of_each_run_what_fails_it() -> None:
    @workflow.defn(dynamic=True)
    class Everything:
        @workflow.init
        def __init__(self, args: Sequence[RawValue]) -> None:
            self.kinds = [KeyError] if args else []

        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> None:
            raise KeyError("gone")

        @workflow.dynamic_config
        def config(self) -> workflow.DynamicWorkflowConfig:
            return workflow.DynamicWorkflowConfig(failure_exception_types=self.kinds)

    player = Player(Everything, "one")
    assert [type(output) for output in player.outputs] == [WorkflowFailed]
    player.check()
    with pytest.raises(BlockedError, match="raised KeyError"):
        Player(Everything)


def test_a_dynamic_configuration_stands_where_it_can_be_called() -> None:
    def config(self: object) -> workflow.DynamicWorkflowConfig:
        return workflow.DynamicWorkflowConfig()

    async def late(self: object) -> None: ...

    def more(self: object, what: int) -> None: ...

    with pytest.raises(DefinitionError, match="so it is no `async def`"):
        workflow.dynamic_config(late)  # type: ignore[arg-type]  # refused for what it is
    with pytest.raises(DefinitionError, match="takes self and nothing else"):
        workflow.dynamic_config(more)  # type: ignore[arg-type]  # refused for what it is
    with pytest.raises(DefinitionError, match="is not dynamic, so it has no dynamic config"):

        @workflow.defn
        class Named:
            configure = workflow.dynamic_config(config)

            @workflow.run
            async def run(self) -> None: ...

    with pytest.raises(DefinitionError, match=r"has 2 @workflow.dynamic_config methods \(a, b\)"):

        @workflow.defn(dynamic=True)
        class Twice:
            a = workflow.dynamic_config(config)
            b = workflow.dynamic_config(config)

            @workflow.run
            async def run(self, args: Sequence[RawValue]) -> None: ...


def test_a_dynamic_workflow_takes_what_no_other_does() -> None:
    @workflow.defn(dynamic=True)
    class Any1:
        @workflow.run
        async def run(self, args: list[int]) -> None: ...

    registry = WorkflowRegistry([Good, Any1])

    found = registry.get("Unknown")
    assert found is not None
    assert found.cls is Any1
    assert WorkflowRegistry([Good]).get("Unknown") is None


class Clerk:
    def file(self, paper: str) -> int:
        return len(paper)

    def __call__(self, paper: str) -> int:
        return self.file(paper)


define_activity(Clerk.file)
define_activity(Clerk)


def test_activities_are_functions_methods_and_callable_objects() -> None:
    clerk = Clerk()
    registry = ActivityRegistry([clerk.file, clerk])

    definition, call = registry.by_name["file"]
    assert definition.is_method
    assert definition.signature.names == ("paper",)
    assert not definition.is_async
    assert call("abc") == 3
    assert registry.by_name["Clerk"][1] is clerk


@pytest.mark.parametrize("unbound", [Clerk.file, Clerk])
def test_an_activity_without_its_object_is_refused(unbound: Any) -> None:
    with pytest.raises(DefinitionError, match="needs an instance of Clerk"):
        ActivityRegistry([unbound])


def test_hints_that_cannot_be_read_are_refused_at_registration() -> None:
    @workflow.defn
    class Unreadable:
        @workflow.run
        async def run(self, call: NotThere) -> None: ...  # type: ignore[name-defined] # noqa: F821

    with pytest.raises(DefinitionError, match=r"cannot be resolved.*NotThere"):
        WorkflowRegistry([Unreadable])


def test_the_code_version_follows_the_source_or_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "versioned.py"
    source.write_text("x = 1\n")
    module = types.ModuleType("versioned")
    module.__file__ = str(source)
    monkeypatch.setitem(sys.modules, "versioned", module)
    monkeypatch.setattr(Good, "__module__", "versioned")
    definitions = [workflow_definition(Good)]

    first = code_version(definitions)
    assert code_version(definitions) == first
    source.write_text("x = 2\n")
    assert code_version(definitions) != first
    assert code_version(definitions, build_id="v7") == "v7"


def test_an_activity_that_others_complete_may_say_that_it_never_returns() -> None:
    @activity.defn
    async def ask() -> NoReturn:
        activity.raise_complete_async()

    signature = ActivityRegistry([ask]).by_name["ask"][0].signature
    signature.check_readable(check_type_hint)
    assert signature.result_type is None


@dataclass
class Left:
    x: int


@dataclass
class Right:
    y: int


class Either(TypedDict):
    one: Left | Right


def test_hints_are_held_against_the_converter_that_reads_them() -> None:
    """A user's converter may read what JSON alone cannot, such as one of two dataclasses."""

    @activity.defn
    async def choose(one: Either) -> None: ...

    with pytest.raises(DefinitionError, match="more than one dataclass"):
        ActivityRegistry([choose])

    converter = records_converter(pydantic_data_converter)
    assert ActivityRegistry([choose], check_hint=converter.check_hint).get("choose")
