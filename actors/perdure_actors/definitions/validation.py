"""What may be a workflow or an activity: refused, with its line, where it may not."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from perdure_actors.definitions.handlers import QUERY, SIGNAL, UPDATE, handlers_of
from perdure_actors.definitions.registry import (
    ACTIVITY,
    DYNAMIC_CONFIG,
    INIT,
    RUN,
    WORKFLOW,
    ActivityDefinition,
    WorkflowDefinition,
)
from perdure_actors.definitions.signatures import DefinitionError, positional, where_is
from perdure_actors.replay.call_site import call_site

NAME_BYTES_MAX = 255


def define_workflow(
    cls: type,
    *,
    name: str | None = None,
    is_dynamic: bool = False,
    is_guarded: bool = True,
    failure_exception_types: Sequence[type[BaseException]] = (),
) -> None:
    """Make a class a workflow.

    Raises DefinitionError, with the line, for what cannot be one.
    """
    where = call_site(2).partition(" in ")[0]
    if not inspect.isclass(cls):
        raise DefinitionError(f"{where}: @workflow.defn is for classes, not for {cls!r}")
    label = cls.__qualname__
    run = _run_method(cls, label, where)
    _check_run(run, label, is_dynamic=is_dynamic)
    if is_dynamic and name is not None:
        raise DefinitionError(f"{where}: {label} is dynamic, so it cannot have a name")
    chosen = "" if is_dynamic else _checked_name(name or cls.__name__, label, where)
    for kind in failure_exception_types:
        value: Any = kind
        if not (inspect.isclass(value) and issubclass(value, BaseException)):
            raise DefinitionError(
                f"{where}: {kind!r} in failure_exception_types of {label} is no exception class"
            )
    handlers = handlers_of(cls, where)
    config = _dynamic_config(cls, label, where)
    if config is not None and not is_dynamic:
        raise DefinitionError(
            f"{where_is(config)}: {label} is not dynamic, so it has no dynamic configuration: give"
            " its options to @workflow.defn"
        )
    definition = WorkflowDefinition(
        name=chosen,
        cls=cls,
        run=run,
        is_dynamic=is_dynamic,
        is_guarded=is_guarded,
        takes_input_in_init=_check_init(cls, run, label),
        failure_exception_types=tuple(failure_exception_types),
        where=where,
        signals=handlers[SIGNAL],
        queries=handlers[QUERY],
        updates=handlers[UPDATE],
        dynamic_config=config,
    )
    setattr(cls, WORKFLOW, definition)
    # A start names the run method.
    setattr(run, WORKFLOW, definition)


def _run_method(cls: type, label: str, where: str) -> Callable[..., Awaitable[Any]]:
    own = [value for value in vars(cls).values() if getattr(value, RUN, False)]
    if len(own) == 1:
        run: Callable[..., Awaitable[Any]] = own[0]
        return run
    if own:
        lines = ", ".join(where_is(fn) for fn in own)
        raise DefinitionError(f"{where}: {label} has {len(own)} @workflow.run methods ({lines})")
    for base in cls.__mro__[1:]:
        for fn in vars(base).values():
            if getattr(fn, RUN, False):
                raise DefinitionError(
                    f"{where}: {label} inherits its @workflow.run method from {base.__qualname__} "
                    f"({where_is(fn)}); give the class one of its own that calls it"
                )
    raise DefinitionError(
        f"{where}: {label} has no @workflow.run method; mark the async method that is its code"
    )


def _dynamic_config(cls: type, label: str, where: str) -> Callable[[Any], Any] | None:
    found = {
        name: fn
        for kind in reversed(cls.__mro__)
        for name, fn in vars(kind).items()
        if getattr(fn, DYNAMIC_CONFIG, False)
    }
    if len(found) > 1:
        raise DefinitionError(
            f"{where}: {label} has {len(found)} @workflow.dynamic_config methods"
            f" ({', '.join(found)})"
        )
    return next(iter(found.values()), None)


def _check_run(run: Callable[..., Any], label: str, *, is_dynamic: bool) -> None:
    """Refuse a run method that could not be called. The decorator has seen that it is async."""
    at = where_is(run)
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or (
            parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        ):
            raise DefinitionError(
                f"{at}: {label}.{run.__name__} takes {parameter}; a start gives positional "
                "arguments, one to each parameter: pass one dataclass instead"
            )
    if not positional(run):
        raise DefinitionError(f"{at}: {label}.{run.__name__} has no self")
    if is_dynamic and len(positional(run)) != 2:
        raise DefinitionError(
            f"{at}: {label} is dynamic, so {run.__name__} takes one Sequence[RawValue] beside self"
        )


def _check_init(cls: type, run: Callable[..., Any], label: str) -> bool:
    """Whether the constructor takes the input; it must take it whole, or nothing."""
    init = cls.__init__  # type: ignore[misc]
    takes_input = bool(getattr(init, INIT, False))
    if init is object.__init__:
        return False
    if takes_input:
        if _shape(init) != _shape(run):
            raise DefinitionError(
                f"{where_is(init)}: {label}.__init__ is marked @workflow.init, so it must take the "
                f"parameters of {run.__name__}: {inspect.signature(run)}"
            )
        return True
    needed = [p.name for p in positional(init)[1:] if p.default is p.empty]
    if needed:
        raise DefinitionError(
            f"{where_is(init)}: {label}.__init__ needs {', '.join(needed)}; mark it @workflow.init "
            "to be given the input of run, or take nothing"
        )
    return False


def _shape(fn: Callable[..., Any]) -> list[tuple[Any, bool]]:
    return [(p.annotation, p.default is p.empty) for p in positional(fn)[1:]]


def define_activity(
    fn: Callable[..., Any],
    *,
    name: str | None = None,
    is_dynamic: bool = False,
    no_thread_cancel_exception: bool = False,
) -> None:
    """Make a function, a method or a class with __call__ an activity.

    Raises DefinitionError, with the line, for what cannot be one.
    """
    where = call_site(2).partition(" in ")[0]
    called = vars(fn).get("__call__") if inspect.isclass(fn) else fn
    if not inspect.isfunction(called):
        raise DefinitionError(
            f"{where}: @activity.defn is for functions, methods and classes with __call__, "
            f"not for {fn!r}"
        )
    label = getattr(fn, "__qualname__", repr(fn))
    if inspect.isasyncgenfunction(called) or inspect.isgeneratorfunction(called):
        raise DefinitionError(f"{where}: {label} yields; an activity returns one value")
    if is_dynamic and name is not None:
        raise DefinitionError(f"{where}: {label} is dynamic, so it cannot have a name")
    for parameter in inspect.signature(called).parameters.values():
        is_required = parameter.default is parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY and is_required:
            raise DefinitionError(
                f"{where}: {label} needs {parameter.name} by keyword; activities are called with "
                "positional arguments only"
            )
    definition = ActivityDefinition(
        name="" if is_dynamic else _checked_name(name or fn.__name__, label, where),
        fn=called,
        is_async=inspect.iscoroutinefunction(called),
        is_method=inspect.isclass(fn) or _is_method(called),
        is_dynamic=is_dynamic,
        is_variadic=any(
            p.kind is p.VAR_POSITIONAL for p in inspect.signature(called).parameters.values()
        ),
        no_thread_cancel_exception=no_thread_cancel_exception,
        where=where,
    )
    setattr(fn, ACTIVITY, definition)


def _is_method(fn: Callable[..., Any]) -> bool:
    owner = fn.__qualname__.rpartition(".")[0]
    parameters = positional(fn)
    is_in_class = bool(owner) and not owner.endswith("<locals>")
    return is_in_class and bool(parameters) and parameters[0].name == "self"


def mark_run(fn: Callable[..., Any]) -> None:
    """Make a method the code of its workflow. Raises DefinitionError unless it is async."""
    where = call_site(2).partition(" in ")[0]
    if not inspect.iscoroutinefunction(fn):
        label = getattr(fn, "__qualname__", repr(fn))
        raise DefinitionError(f"{where}: {label} is the code of a workflow, so it is `async def`")
    setattr(fn, RUN, True)


def mark_init(fn: Callable[..., Any]) -> None:
    """Let a constructor be given the input. Raises DefinitionError for any other method."""
    if getattr(fn, "__name__", "") != "__init__":
        where = call_site(2).partition(" in ")[0]
        raise DefinitionError(f"{where}: @workflow.init is for __init__, not for {fn!r}")
    setattr(fn, INIT, True)


def mark_dynamic_config(fn: Callable[..., Any]) -> None:
    """Let a method configure a dynamic workflow. Raises DefinitionError where it could not."""
    where = call_site(2).partition(" in ")[0]
    label = getattr(fn, "__qualname__", repr(fn))
    if inspect.iscoroutinefunction(fn):
        raise DefinitionError(f"{where}: {label} only says something, so it is no `async def`")
    if len(positional(fn)) != 1:
        raise DefinitionError(f"{where}: {label} takes self and nothing else")
    setattr(fn, DYNAMIC_CONFIG, True)


def _checked_name(name: str, label: str, where: str) -> str:
    size = len(name.encode())
    if not name or size > NAME_BYTES_MAX or not name.isprintable():
        raise DefinitionError(
            f"{where}: {label} cannot have the name {name!r}: a name has 1 to {NAME_BYTES_MAX} "
            "bytes, all printable"
        )
    return name
