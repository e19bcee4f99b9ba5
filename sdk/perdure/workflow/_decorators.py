"""The decorators of workflow classes; actors check what they mark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from perdure.common import VersioningBehavior
from perdure.types import CallableAsyncType, CallableType, ClassType, MethodSyncNoParam, SelfType
from perdure_actors.definitions.validation import (
    define_workflow,
    mark_dynamic_config,
    mark_init,
    mark_run,
)


@dataclass
class DynamicWorkflowConfig:
    """What a dynamic workflow says of one of its runs.

    Exceptions of `failure_exception_types` fail the run, as those of `@workflow.defn` do.
    `versioning_behavior` has no effect: work is not routed by build ids.
    """

    failure_exception_types: Sequence[type[BaseException]] | None = None
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED


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


def dynamic_config(
    fn: MethodSyncNoParam[SelfType, DynamicWorkflowConfig],
) -> MethodSyncNoParam[SelfType, DynamicWorkflowConfig]:
    """Let a method of a dynamic workflow say more of a run, once there is an instance of it.

    It is called once, before signals and the run method, and takes only self:
    `def config(self): return workflow.DynamicWorkflowConfig(failure_exception_types=[KeyError])`.

    Raises ValueError, with the line, for a method that could not be called so; a class with one
    must be dynamic.
    """
    mark_dynamic_config(fn)
    return fn
