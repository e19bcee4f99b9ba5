"""Loading a user's module, and finding its workflows and activities."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from perdure._activity_objects import activity_methods, expand, is_activity
from perdure.converter import DataConverter
from perdure_actors.definitions.registry import ACTIVITY, WORKFLOW

CONVENTION = """
MODULE is a dotted module or the path of a .py file. Taken from it are: every class with
@workflow.defn; what its ACTIVITIES list, or its function activities(), holds: functions with
@activity.defn, and objects whose @activity.defn methods are all taken. Without either, every
@activity.defn function of the module, and the methods of every object that stands in it.
TASK_QUEUE in the module is the default of --task-queue, DATA_CONVERTER how values are read and
written.
"""


T = TypeVar("T")
Traffic = Callable[[Any], Awaitable[None]]


class ModuleError(ImportError):
    """A module that cannot be used: where, why, and what to do."""


@dataclass(frozen=True)
class Found:
    """What a module defines."""

    workflows: list[type]
    activities: list[Callable[..., Any]]
    task_queue: str | None
    traffic: Traffic | None = None
    """The module's `dev(client)`, which `perdure dev` runs beside it."""
    data_converter: DataConverter = DataConverter.default


def load(name: str) -> Found:
    """The workflows and activities of a module.

    Raises ModuleError, with the line, when it does not import or defines neither.
    """
    module = _import(name)
    converter = getattr(module, "DATA_CONVERTER", None)
    found = Found(
        workflows=_workflows(module),
        activities=_activities(module),
        task_queue=getattr(module, "TASK_QUEUE", None),
        traffic=_traffic(module),
        data_converter=_converter(f"{name}.DATA_CONVERTER", converter),
    )
    if not found.workflows and not found.activities:
        raise ModuleError(
            f"{name} defines no workflow and no activity: put @workflow.defn above a class, or"
            " @activity.defn above a function"
        )
    return found


def load_converter(place: str) -> DataConverter:
    """The data converter at a place written module:NAME.

    Raises ModuleError when the module does not import or holds no converter there.
    """
    name, colon, attribute = place.partition(":")
    if not colon or not attribute:
        raise ModuleError(f"{place!r} names no data converter: give module:NAME")
    return _converter(place, getattr(_import(name), attribute, place))


def load_object(place: str, kind: type[T]) -> T:
    """The object of a kind at a place written module:NAME.

    Raises ModuleError when the module does not import or holds no such object there.
    """
    name, colon, attribute = place.partition(":")
    if not colon or not attribute:
        raise ModuleError(f"{place!r} names no {kind.__name__}: give module:NAME")
    found = getattr(_import(name), attribute, None)
    if not isinstance(found, kind):
        raise ModuleError(f"{place} is no {kind.__name__}, but {found!r}")
    return found


def _converter(place: str, found: object) -> DataConverter:
    if found is None:
        return DataConverter.default
    if not isinstance(found, DataConverter):
        raise ModuleError(f"{place} is no DataConverter: make one with DataConverter(...)")
    return found


def _import(name: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        # An installed command does not look where it is started, as `python -m` does.
        sys.path.insert(0, folder)
    try:
        if name.endswith(".py"):
            return _import_file(Path(name))
        return importlib.import_module(name)
    except ModuleError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ModuleError(
                f"there is no module {name!r} here: give a dotted name that imports from"
                f" {folder}, or the path of a .py file"
            ) from error
        raise ModuleError(_where(name, error)) from error
    except Exception as error:
        raise ModuleError(_where(name, error)) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModuleError(f"there is no file {path}")
    parts = path.resolve().relative_to(Path.cwd()).with_suffix("").parts if _is_here(path) else ()
    if parts and all(part.isidentifier() for part in parts):
        # Under its dotted name, so that the file and its importers share one module.
        return importlib.import_module(".".join(parts))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModuleError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _is_here(path: Path) -> bool:
    return path.resolve().is_relative_to(Path.cwd())


def _where(name: str, error: Exception) -> str:
    """Why a module does not import, with the line of the user's own code that is nearest."""
    if isinstance(error, SyntaxError):
        return f"{name} does not import: {error.filename}:{error.lineno}: {error.msg}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in frame.filename
    ]
    own = [frame for frame in frames if frame.filename != __file__]
    place = f"{own[-1].filename}:{own[-1].lineno}: " if own else ""
    return f"{name} does not import: {place}{type(error).__name__}: {error}"


def _traffic(module: ModuleType) -> Traffic | None:
    found = getattr(module, "dev", None)
    return found if inspect.iscoroutinefunction(found) else None


def _workflows(module: ModuleType) -> list[type]:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and WORKFLOW in vars(value)
    ]
    return list(dict.fromkeys(found))


def _activities(module: ModuleType) -> list[Callable[..., Any]]:
    listed = getattr(module, "ACTIVITIES", None)
    function = getattr(module, "activities", None)
    if listed is not None:
        return _expand(module, listed)
    if inspect.isfunction(function) and not hasattr(function, ACTIVITY):
        try:
            given = function()
        except Exception as error:
            raise ModuleError(_where(f"{module.__name__}.activities()", error)) from error
        return _expand(module, given)
    found: list[Callable[..., Any]] = []
    for value in vars(module).values():
        if inspect.isclass(value) or inspect.ismodule(value):
            continue
        if is_activity(value):
            found.append(value)
        elif type(value).__module__ == module.__name__:
            found += activity_methods(value)
    return list(dict.fromkeys(found))


def _expand(module: ModuleType, given: Iterable[Any]) -> list[Callable[..., Any]]:
    """Activities, and the activity methods of objects."""
    try:
        return expand(given, whose=module.__name__)
    except TypeError as error:
        raise ModuleError(str(error)) from error


def load_part(place: str) -> tuple[ModuleType, Any]:
    """A module and what stands in it, at a place written file.py::NAME or module:NAME.

    Raises ModuleError when the module does not import or has no such name.
    """
    name, colons, attribute = place.rpartition("::" if "::" in place else ":")
    if not colons or not attribute:
        raise ModuleError(f"{place!r} names nothing in a module: give file.py::NAME or module:NAME")
    module = _import(name)
    if not hasattr(module, attribute):
        names = sorted(
            one for one, value in vars(module).items() if inspect.isclass(value) and one[0] != "_"
        )
        raise ModuleError(f"{name} has no {attribute}; it has: {', '.join(names) or 'no class'}")
    return module, getattr(module, attribute)
