"""Handlers set at run time, and the handlers that are under way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from perdure_actors.definitions.handlers import QUERY, SIGNAL, UPDATE, runtime_handler
from perdure_actors.replay.message_handlers import UpdateInfo, current_update
from perdure_actors.replay.runtime import current

if TYPE_CHECKING:
    from perdure_actors.replay.coroutine import Coroutine

AnyCallable = Callable[..., Any]
_DYNAMIC = ""


def get_signal_handler(name: str) -> AnyCallable | None:
    """The handler of a signal; None when it has none of its own."""
    return _bound(current().messages.signals, name)


def set_signal_handler(name: str, handler: AnyCallable | None) -> None:
    """Set or remove the handler of a signal; those that waited for it are handled now."""
    made = None if handler is None else runtime_handler(SIGNAL, name, handler)
    _acting().messages.set_signal(name, made)


def get_dynamic_signal_handler() -> AnyCallable | None:
    """The handler of signals without one of their own."""
    return _bound(current().messages.signals, _DYNAMIC)


def set_dynamic_signal_handler(handler: AnyCallable | None) -> None:
    """Set or remove the handler of signals without one of their own; it takes those waiting."""
    made = None if handler is None else runtime_handler(SIGNAL, _DYNAMIC, handler)
    _acting().messages.set_signal(_DYNAMIC, made)


def get_query_handler(name: str) -> AnyCallable | None:
    """The handler of a query; None when it has none of its own."""
    return _bound(current().messages.queries, name)


def set_query_handler(name: str, handler: AnyCallable | None) -> None:
    """Set or remove the handler of a query."""
    made = None if handler is None else runtime_handler(QUERY, name, handler)
    _acting().messages.set_query(name, made)


def get_dynamic_query_handler() -> AnyCallable | None:
    """The handler of queries without one of their own."""
    return _bound(current().messages.queries, _DYNAMIC)


def set_dynamic_query_handler(handler: AnyCallable | None) -> None:
    """Set or remove the handler of queries without one of their own."""
    made = None if handler is None else runtime_handler(QUERY, _DYNAMIC, handler)
    _acting().messages.set_query(_DYNAMIC, made)


def get_update_handler(name: str) -> AnyCallable | None:
    """The handler of an update; None when it has none of its own."""
    return _bound(current().messages.updates, name)


def set_update_handler(
    name: str, handler: AnyCallable | None, *, validator: AnyCallable | None = None
) -> None:
    """Set or remove the handler of an update, with what may refuse one."""
    made = None if handler is None else runtime_handler(UPDATE, name, handler, validator=validator)
    _acting().messages.set_update(name, made)


def get_dynamic_update_handler() -> AnyCallable | None:
    """The handler of updates without one of their own."""
    return _bound(current().messages.updates, _DYNAMIC)


def set_dynamic_update_handler(
    handler: AnyCallable | None, *, validator: AnyCallable | None = None
) -> None:
    """Set or remove the handler of updates without one of their own."""
    made = (
        None if handler is None else runtime_handler(UPDATE, _DYNAMIC, handler, validator=validator)
    )
    _acting().messages.set_update(_DYNAMIC, made)


def all_handlers_finished() -> bool:
    """Whether no handler of a signal or an update is at work; wait for it before the run ends."""
    return current().messages.are_finished


def current_update_info() -> UpdateInfo | None:
    """The update that the calling handler or validator is at work on; None elsewhere."""
    return current_update.get()


def _acting() -> Coroutine:
    """The run, of code that may act: what only looks leaves its handlers as they are."""
    run = current()
    run.loop.check_acting()
    return run


def _bound(handlers: Any, name: str) -> AnyCallable | None:
    handler = handlers.get(name)
    if handler is None:
        return None
    bound: AnyCallable = handler.bound(current().instance)
    return bound
