"""Activities out of what users list: functions, and objects whose methods are activities."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from perdure_actors.definitions.registry import ACTIVITY, activity_definition


def is_activity(value: Any) -> bool:
    """Whether it can be registered as it is."""
    if inspect.isclass(value) or not callable(value):
        return False
    try:
        activity_definition(value)
    except ValueError:
        return False
    return True


def activity_methods(value: Any) -> list[Callable[..., Any]]:
    """The activity methods of an object, in the order they are written."""
    names = [name for kind in type(value).__mro__ for name in vars(kind)]
    return [
        getattr(value, name)
        for name in dict.fromkeys(names)
        if hasattr(getattr(type(value), name, None), ACTIVITY)
    ]


def expand(given: Iterable[Any], *, whose: str) -> list[Callable[..., Any]]:
    """Activities, and the activity methods of objects. Raises TypeError for what is neither."""
    found: list[Callable[..., Any]] = []
    for value in given:
        methods = [] if is_activity(value) else activity_methods(value)
        if not methods and not is_activity(value):
            raise TypeError(
                f"{whose} lists {value!r} among its activities: it is none, and has no"
                " method with @activity.defn"
            )
        found += methods or [value]
    return found
