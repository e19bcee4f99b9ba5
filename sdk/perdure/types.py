"""Type variables and callable shapes of typed calls. Types only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

# The names are those users know from typed calls elsewhere, whatever their variance.
# ruff: noqa: PLC0105

AnyType = TypeVar("AnyType")
ClassType = TypeVar("ClassType", bound=type)
SelfType = TypeVar("SelfType")
ParamType = TypeVar("ParamType")
ReturnType = TypeVar("ReturnType", covariant=True)
LocalReturnType = TypeVar("LocalReturnType", covariant=True)
CallableType = TypeVar("CallableType", bound=Callable[..., Any])
CallableAsyncType = TypeVar("CallableAsyncType", bound=Callable[..., Awaitable[Any]])
CallableSyncOrAsyncReturnNoneType = TypeVar(
    "CallableSyncOrAsyncReturnNoneType", bound=Callable[..., Awaitable[None] | None]
)
CallableSyncOrAsyncType = TypeVar("CallableSyncOrAsyncType", bound=Callable[..., Any])
MultiParamSpec = ParamSpec("MultiParamSpec")

ProtocolParamType = TypeVar("ProtocolParamType", contravariant=True)
ProtocolReturnType = TypeVar("ProtocolReturnType", covariant=True)
ProtocolSelfType = TypeVar("ProtocolSelfType", contravariant=True)

CallableAsyncNoParam = Callable[[], Awaitable[ProtocolReturnType]]
CallableSyncNoParam = Callable[[], ProtocolReturnType]
CallableAsyncSingleParam = Callable[[ProtocolParamType], Awaitable[ProtocolReturnType]]
CallableSyncSingleParam = Callable[[ProtocolParamType], ProtocolReturnType]


class MethodAsyncNoParam(Protocol[ProtocolSelfType, ProtocolReturnType]):
    """An async method without a parameter, taken from its class."""

    def __call__(self, __self: ProtocolSelfType, /) -> Awaitable[ProtocolReturnType]:
        """Call the method on an instance."""


class MethodSyncNoParam(Protocol[ProtocolSelfType, ProtocolReturnType]):
    """A plain method without a parameter, taken from its class."""

    def __call__(self, __self: ProtocolSelfType, /) -> ProtocolReturnType:
        """Call the method on an instance."""


class MethodAsyncSingleParam(Protocol[ProtocolSelfType, ProtocolParamType, ProtocolReturnType]):
    """An async method with one parameter, taken from its class."""

    def __call__(
        self, __self: ProtocolSelfType, __param: ProtocolParamType, /
    ) -> Awaitable[ProtocolReturnType]:
        """Call the method on an instance."""


class MethodSyncSingleParam(Protocol[ProtocolSelfType, ProtocolParamType, ProtocolReturnType]):
    """A plain method with one parameter, taken from its class."""

    def __call__(
        self, __self: ProtocolSelfType, __param: ProtocolParamType, /
    ) -> ProtocolReturnType:
        """Call the method on an instance."""


class MethodSyncOrAsyncNoParam(Protocol[ProtocolSelfType, ProtocolReturnType]):
    """A method without a parameter, async or not, taken from its class."""

    def __call__(
        self, __self: ProtocolSelfType, /
    ) -> ProtocolReturnType | Awaitable[ProtocolReturnType]:
        """Call the method on an instance."""


class MethodSyncOrAsyncSingleParam(
    Protocol[ProtocolSelfType, ProtocolParamType, ProtocolReturnType]
):
    """A method with one parameter, async or not, taken from its class."""

    def __call__(
        self, __self: ProtocolSelfType, __param: ProtocolParamType, /
    ) -> ProtocolReturnType | Awaitable[ProtocolReturnType]:
        """Call the method on an instance."""
