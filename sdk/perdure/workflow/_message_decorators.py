"""The decorators of signals, queries and updates; actors check what they mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Protocol, overload

from perdure.types import (
    CallableSyncOrAsyncReturnNoneType,
    CallableType,
    MultiParamSpec,
    ReturnType,
)
from perdure_actors.definitions.handlers import QUERY, SIGNAL, UPDATE, mark_handler, mark_validator


class HandlerUnfinishedPolicy(Enum):
    """What happens when a run ends while a handler is at work; it is abandoned in any case."""

    WARN_AND_ABANDON = 1
    ABANDON = 2


class UpdateMethodMultiParam(Protocol[MultiParamSpec, ReturnType]):
    """An update handler, with the decorator of its validator."""

    def __call__(
        self, *args: MultiParamSpec.args, **kwargs: MultiParamSpec.kwargs
    ) -> ReturnType | Awaitable[ReturnType]:
        """Call the handler."""

    def validator(self, vfunc: Callable[MultiParamSpec, None]) -> Callable[MultiParamSpec, None]:
        """Let a plain method of the same parameters refuse an update, by raising."""


@overload
def signal(fn: CallableSyncOrAsyncReturnNoneType) -> CallableSyncOrAsyncReturnNoneType: ...


@overload
def signal(
    *,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[CallableSyncOrAsyncReturnNoneType], CallableSyncOrAsyncReturnNoneType]: ...


@overload
def signal(
    *,
    name: str,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[CallableSyncOrAsyncReturnNoneType], CallableSyncOrAsyncReturnNoneType]: ...


@overload
def signal(
    *,
    dynamic: bool,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[[CallableSyncOrAsyncReturnNoneType], CallableSyncOrAsyncReturnNoneType]: ...


def signal(
    fn: CallableSyncOrAsyncReturnNoneType | None = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> (
    Callable[[CallableSyncOrAsyncReturnNoneType], CallableSyncOrAsyncReturnNoneType]
    | CallableSyncOrAsyncReturnNoneType
):
    """Make a method the handler of a signal; its name is the method's unless another is given.

    A dynamic one takes every signal without a handler: it is given the name and the raw values.
    Raises ValueError, with the line, for a method that cannot be a handler.
    """

    def decorate(fn: CallableSyncOrAsyncReturnNoneType) -> CallableSyncOrAsyncReturnNoneType:
        mark_handler(
            SIGNAL,
            fn,
            name=name,
            is_dynamic=bool(dynamic),
            description=description,
            warns_unfinished=unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON,
        )
        return fn

    return decorate if fn is None else decorate(fn)


@overload
def query(fn: CallableType) -> CallableType: ...


@overload
def query(
    *, name: str, description: str | None = None
) -> Callable[[CallableType], CallableType]: ...


@overload
def query(
    *, dynamic: bool, description: str | None = None
) -> Callable[[CallableType], CallableType]: ...


@overload
def query(*, description: str) -> Callable[[CallableType], CallableType]: ...


def query(
    fn: CallableType | None = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    description: str | None = None,
) -> CallableType | Callable[[CallableType], CallableType]:
    """Make a plain method the handler of a query; it may look at the workflow, and not act.

    Raises ValueError, with the line, for a method that cannot be a handler.
    """

    def decorate(fn: CallableType) -> CallableType:
        mark_handler(QUERY, fn, name=name, is_dynamic=bool(dynamic), description=description)
        return fn

    return decorate if fn is None else decorate(fn)


@overload
def update(
    fn: Callable[MultiParamSpec, Awaitable[ReturnType]],
) -> UpdateMethodMultiParam[MultiParamSpec, ReturnType]: ...


@overload
def update(
    fn: Callable[MultiParamSpec, ReturnType],
) -> UpdateMethodMultiParam[MultiParamSpec, ReturnType]: ...


@overload
def update(
    *,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[
    [Callable[MultiParamSpec, ReturnType]],
    UpdateMethodMultiParam[MultiParamSpec, ReturnType],
]: ...


@overload
def update(
    *,
    name: str,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[
    [Callable[MultiParamSpec, ReturnType]],
    UpdateMethodMultiParam[MultiParamSpec, ReturnType],
]: ...


@overload
def update(
    *,
    dynamic: bool,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Callable[
    [Callable[MultiParamSpec, ReturnType]],
    UpdateMethodMultiParam[MultiParamSpec, ReturnType],
]: ...


def update(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """Make a method the handler of an update; `@handler.validator` marks what may refuse one.

    Raises ValueError, with the line, for a method that cannot be a handler.
    """

    def decorate(fn: Callable[..., Any]) -> Any:
        mark = mark_handler(
            UPDATE,
            fn,
            name=name,
            is_dynamic=bool(dynamic),
            description=description,
            warns_unfinished=unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON,
        )

        def validator(vfunc: Callable[..., None]) -> Callable[..., None]:
            mark_validator(mark, fn, vfunc)
            return vfunc

        fn.validator = validator  # type: ignore[attr-defined]
        return fn

    return decorate if fn is None else decorate(fn)
