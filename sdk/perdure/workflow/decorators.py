"""The decorators that make a class a workflow. What they check lives in actors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from perdure.types import CallableAsyncType, CallableType, ClassType
from perdure_actors.defining import define_workflow, mark_init, mark_run


@overload
def defn(cls: ClassType) -> ClassType: ...


@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = True,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Callable[[ClassType], ClassType]: ...


@overload
def defn(
    *,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> Callable[[ClassType], ClassType]: ...


def defn(
    cls: ClassType | None = None,
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> ClassType | Callable[[ClassType], ClassType]:
    """Make a class a workflow; its name is the class's unless another is given.

    With `sandboxed=False` calls that replay cannot repeat are not refused. Exceptions of the
    `failure_exception_types` fail a run; any other that is no failure blocks it until fixed code
    is deployed. A dynamic workflow takes every type that has no workflow of its own.

    Raises ValueError, with the line, for a class that cannot be a workflow.
    """

    def decorate(cls: ClassType) -> ClassType:
        define_workflow(
            cls,
            name=name,
            is_dynamic=dynamic,
            is_guarded=sandboxed,
            failure_exception_types=failure_exception_types,
        )
        return cls

    return decorate if cls is None else decorate(cls)


def run(fn: CallableAsyncType) -> CallableAsyncType:
    """Make an async method the code of its workflow."""
    mark_run(fn)
    return fn


def init(init_fn: CallableType) -> CallableType:
    """Let `__init__` be given the arguments of the run method."""
    mark_init(init_fn)
    return init_fn
