"""Guards on workflow modules: calls that replay cannot repeat raise, naming what to call instead.

A workflow module's own globals are replaced by guarded ones when its workflows are registered,
for then the module is whole. They do nothing unless workflow code runs on the calling thread, so
the activities and the helpers of the module go on as before. No module is imported again.
"""

from __future__ import annotations

import asyncio
import builtins
import datetime as dt
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from perdure_actors.replay.blocked import ForbiddenCallError
from perdure_actors.replay.guard_tables import (
    BUILTINS,
    CLASSES,
    MODULES,
    NEEDED_ARGUMENTS,
    advice_for,
)
from perdure_actors.replay.loop import Loop

_running_loop = asyncio._get_running_loop
_GUARDED = "__perdure_guarded__"
_modules: dict[str, types.ModuleType] = {}
_classes: dict[type, type] = {}


def guard_module(module: types.ModuleType) -> None:
    """Replace what a workflow module holds of clocks, chance and input-output by guarded ones."""
    space = vars(module)
    if space.get(_GUARDED):
        return
    space[_GUARDED] = True
    known = _known_values()
    replaced = {name: _guarded(value, known) for name, value in list(space.items())}
    changed = {name: value for name, value in replaced.items() if value is not space[name]}
    _fix_annotations(module, {name for name, value in changed.items() if isinstance(value, type)})
    space.update(changed)
    for name in BUILTINS:
        if name not in space:
            space[name] = _function(getattr(builtins, name), name, advice_for("builtins", name))


def refuse(label: str, advice: str) -> None:
    """Raise if workflow code is running on this thread.

    Raises ForbiddenCallError with the advice.
    """
    loop = _running_loop()
    if type(loop) is Loop and not loop.is_unrestricted:
        raise ForbiddenCallError(
            label,
            override_message=f"{label} must not be called by workflow code, because replay could"
            f" not repeat it: {advice}. Harmless here? Call it under"
            " workflow.unsafe.sandbox_unrestricted()",
        )


def _guarded(value: Any, known: Mapping[Any, tuple[str, str]]) -> Any:
    """The guarded one of a module's global, or the very same."""
    if isinstance(value, types.ModuleType):
        return _module(value) if value.__name__ in MODULES else value
    if isinstance(value, type) and value in CLASSES:
        return _class(value)
    if value is os.environ:
        return _environ()
    try:
        found = known.get(value) if callable(value) else None
    except TypeError:
        return value
    return value if found is None else _function(value, *found)


def _module(real: types.ModuleType) -> types.ModuleType:
    """A module that reads as the real one, with guarded functions for what is forbidden."""
    known = _modules.get(real.__name__)
    if known is not None:
        return known
    proxy = _Module(real.__name__, real.__doc__)
    _modules[real.__name__] = proxy
    proxy.__dict__["__wrapped__"] = real
    is_forbidden = MODULES[real.__name__]
    for name, value in vars(real).items():
        if name.startswith("__"):
            continue
        if isinstance(value, types.ModuleType) and value.__name__ in MODULES:
            proxy.__dict__[name] = _module(value)
        elif value is os.environ:
            proxy.__dict__[name] = _environ()
        elif isinstance(value, type) and value in CLASSES:
            proxy.__dict__[name] = _class(value)
        elif callable(value) and is_forbidden(name, value):
            label = f"{real.__name__}.{name}"
            advice = advice_for(real.__name__, name)
            proxy.__dict__[name] = _function(value, label, advice, real=real, name=name)
        else:
            proxy.__dict__[name] = value
    return proxy


def _environ() -> os._Environ[str]:
    """The environment, over the very same data, that workflow code must not read."""
    guarded = _Environ.__new__(_Environ)
    vars(guarded).update(vars(os.environ))
    return guarded


class _Environ(os._Environ[str]):
    def __getitem__(self, key: str) -> str:
        refuse("os.environ", advice_for("os", "environ"))
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        refuse("os.environ", advice_for("os", "environ"))
        return super().__iter__()


class _Module(types.ModuleType):
    """What was put into the real module later is found there."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["__wrapped__"], name)


def _function(
    value: Callable[..., Any],
    label: str,
    advice: str,
    *,
    real: types.ModuleType | None = None,
    name: str = "",
) -> Callable[..., Any]:
    """A function that calls the real one, unless workflow code calls it."""
    needed = NEEDED_ARGUMENTS.get(label, 0)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if _running_loop().__class__ is Loop and (not needed or len(args) + len(kwargs) < needed):
            refuse(label, advice)
        # Looked up anew, so that a test which patches the real module is heard.
        target = value if real is None else getattr(real, name, value)
        return target(*args, **kwargs)

    guarded.__name__ = getattr(value, "__name__", label)
    guarded.__qualname__ = getattr(value, "__qualname__", label)
    guarded.__doc__ = value.__doc__
    guarded.__wrapped__ = value  # type: ignore[attr-defined]
    return guarded


def _class(real: type) -> type:
    """A class that stands for a real one: it makes and knows the real one's instances."""
    known = _classes.get(real)
    if known is not None:
        return known
    forbidden = CLASSES[real]
    label = f"{real.__module__}.{real.__name__}"
    needed = NEEDED_ARGUMENTS.get(label, 0)
    methods: Mapping[str, Callable[..., Any]] = {
        name: _function(getattr(real, name), f"{label}.{name}", advice)
        for name, advice in forbidden.items()
    }

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            return methods[name] if name in methods else getattr(real, name)

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if needed > len(args) + len(kwargs):
                refuse(f"{label}()", advice_for(real.__module__, real.__name__))
            return real(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, real)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, real)

        def __eq__(cls, other: object) -> bool:
            return other is real or other is _classes.get(real)

        def __hash__(cls) -> int:
            return hash(real)

        def __or__(cls, other: Any) -> Any:
            return real | other

        def __ror__(cls, other: Any) -> Any:
            return other | real

    guarded: type = Meta(real.__name__, (), {"__doc__": real.__doc__})
    _classes[real] = guarded
    return guarded


def _fix_annotations(module: types.ModuleType, names: set[str]) -> None:
    """Resolve the annotations that name a class about to be replaced, while it is the real one.

    Whoever reads them later, a converter for one, must find the class itself.
    """
    space = vars(module)
    mentioned = names | {name for name, value in space.items() if value is dt}
    if not mentioned:
        return
    for owner in _annotated(module):
        annotations = owner.__annotations__
        for key, hint in list(annotations.items()):
            text = hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else hint
            if isinstance(text, str) and any(name in text for name in mentioned):
                try:
                    annotations[key] = eval(text, space)  # noqa: S307 - as get_type_hints does
                except Exception:  # noqa: S112 - what cannot be resolved says so when it is read
                    continue


def _annotated(module: types.ModuleType) -> list[Any]:
    """The functions and classes that a module defines, with the methods of the classes."""
    found: list[Any] = []
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, type):
            found += [
                value,
                *(m for m in vars(value).values() if isinstance(m, types.FunctionType)),
            ]
        elif isinstance(value, types.FunctionType):
            found.append(value)
    return [value for value in found if isinstance(getattr(value, "__annotations__", None), dict)]


def _known_values() -> dict[Any, tuple[str, str]]:
    """Forbidden functions by identity, for names that were imported from their module."""
    found: dict[Any, tuple[str, str]] = {}
    for module_name, is_forbidden in MODULES.items():
        module = sys.modules.get(module_name)
        for name, value in vars(module).items() if module is not None else ():
            if name.startswith("__") or not callable(value) or value in CLASSES:
                continue
            if is_forbidden(name, value):
                found.setdefault(value, (f"{module_name}.{name}", advice_for(module_name, name)))
    return found
