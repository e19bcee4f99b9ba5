"""What cannot be a handler is refused where it is defined, with its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from perdure import workflow
from perdure.common import RawValue
from perdure_actors.definitions.signatures import DefinitionError

HERE = "tests/unit/test_handler_definitions.py"


def _two_of_one_name() -> None:
    @workflow.defn
    class Wrong:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.signal(name="go")
        def a(self) -> None: ...

        @workflow.signal(name="go")
        def b(self) -> None: ...


def _async_query() -> None:
    @workflow.query
    async def asks(self: Any) -> None: ...


def _keyword_only() -> None:
    @workflow.signal
    def told(self: Any, *, what: str) -> None: ...


def _dynamic_with_few() -> None:
    @workflow.signal(dynamic=True)
    def told(self: Any, args: Sequence[RawValue]) -> None: ...


def _async_validator() -> None:
    @workflow.update
    def change(self: Any, what: str) -> None: ...

    @change.validator  # type: ignore[arg-type]
    async def check(self: Any, what: str) -> None: ...


def _other_parameters() -> None:
    @workflow.update
    def change(self: Any, what: str) -> None: ...

    @change.validator  # type: ignore[arg-type]
    def check(self: Any, what: int, more: int) -> None: ...


def _hidden() -> None:
    class Above:
        @workflow.signal
        def go(self) -> None: ...

    @workflow.defn
    class Wrong(Above):
        @workflow.run
        async def run(self) -> None: ...

        def go(self) -> None: ...


def _reserved_name() -> None:
    @workflow.query(name="__temporal_x")
    def asks(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (_two_of_one_name, "has two signal handlers with the name 'go'"),
        (_keyword_only, "a signal gives positional arguments"),
        (_dynamic_with_few, "is a dynamic signal, so it takes a name and one Sequence"),
        (_async_validator, "validates an update, so it is a plain method"),
        (_other_parameters, "so it takes the same parameters"),
        (_hidden, "hides the signal of"),
        (_reserved_name, "__temporal_ is reserved"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_with_its_line(
    define: Callable[[], None], message: str
) -> None:
    with pytest.raises(DefinitionError, match=rf"{HERE}:\d+") as refused:
        define()

    assert message in str(refused.value)


def test_an_async_query_is_warned_of_where_it_is_defined() -> None:
    with pytest.warns(DeprecationWarning, match="is a query, so make it a plain `def`"):
        _async_query()
