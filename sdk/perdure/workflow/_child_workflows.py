"""Child workflows called as run methods or by name; a wrong call is a type error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Concatenate, Unpack, overload

from perdure.types import (
    MethodAsyncNoParam,
    MethodAsyncSingleParam,
    MultiParamSpec,
    ParamType,
    ReturnType,
    SelfType,
)
from perdure.workflow._activity_calls import UNSET as _UNSET
from perdure.workflow._child_calls import ChildWorkflowConfig
from perdure.workflow._child_calls import execute as _execute
from perdure.workflow._child_calls import start as _start
from perdure.workflow._child_handle import ChildWorkflowHandle


@overload
async def start_child_workflow(
    workflow: MethodAsyncNoParam[SelfType, ReturnType],
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[SelfType, ReturnType]: ...


@overload
async def start_child_workflow(
    workflow: MethodAsyncSingleParam[SelfType, ParamType, ReturnType],
    arg: ParamType,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[SelfType, ReturnType]: ...


@overload
async def start_child_workflow(
    workflow: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[ReturnType]],
    *,
    args: Sequence[Any],
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[SelfType, ReturnType]: ...


@overload
async def start_child_workflow(
    workflow: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type | None = ...,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[Any, Any]: ...


def start_child_workflow(
    workflow: Any,
    arg: Any = _UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ChildWorkflowConfig],
) -> Coroutine[Any, Any, ChildWorkflowHandle[Any, Any]]:
    """Start a child workflow, and return its handle once it runs.

    Raises WorkflowAlreadyStartedError when its id is in use, ChildWorkflowError when it cannot
    be started for another reason or is cancelled before, TypeError for an argument that cannot
    be written. Awaiting the handle raises ChildWorkflowError when the child fails for good.
    """
    return _start(workflow, arg, args=args, result_type=result_type, **options)


@overload
async def execute_child_workflow(
    workflow: MethodAsyncNoParam[SelfType, ReturnType],
    **options: Unpack[ChildWorkflowConfig],
) -> ReturnType: ...


@overload
async def execute_child_workflow(
    workflow: MethodAsyncSingleParam[SelfType, ParamType, ReturnType],
    arg: ParamType,
    **options: Unpack[ChildWorkflowConfig],
) -> ReturnType: ...


@overload
async def execute_child_workflow(
    workflow: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[ReturnType]],
    *,
    args: Sequence[Any],
    **options: Unpack[ChildWorkflowConfig],
) -> ReturnType: ...


@overload
async def execute_child_workflow(
    workflow: str,
    arg: Any = ...,
    *,
    args: Sequence[Any] = ...,
    result_type: type | None = ...,
    **options: Unpack[ChildWorkflowConfig],
) -> Any: ...


def execute_child_workflow(
    workflow: Any,
    arg: Any = _UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    **options: Unpack[ChildWorkflowConfig],
) -> Coroutine[Any, Any, Any]:
    """Run a child workflow and await its result.

    Raises what start_child_workflow raises, and ChildWorkflowError when it fails for good.
    """
    return _execute(workflow, arg, args=args, result_type=result_type, **options)
