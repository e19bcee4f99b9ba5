"""What users define, as records: workflow classes, activities, and registries of them.

Definitions are attributes of what they define; a registry is made of what a host or a worker is
given, never filled by an import.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from perdure_actors.replay import guard_audit
from perdure_actors.replay.call_site import short_path
from perdure_actors.replay.guard import guard_module
from perdure_schemas.converters import PayloadConverter, check_type_hint
from perdure_schemas.events import WorkflowStarted

VERSION_BYTES = 8
WORKFLOW = "__perdure_workflow__"
RUN = "__perdure_run__"
INIT = "__perdure_init__"
ACTIVITY = "__perdure_activity__"
RAW = "__perdure_raw__"
"""On a class that takes a payload as it is."""


class DefinitionError(ValueError):
    """A workflow or an activity that cannot be: said where it stands."""


@dataclass(frozen=True)
class WorkflowDefinition:
    """A workflow class and how it is run."""

    name: str
    """Its type; empty for the dynamic one, which takes every type that has no other."""
    cls: type
    run: Callable[..., Awaitable[Any]]
    is_dynamic: bool = False
    is_guarded: bool = True
    """Whether calls that replay cannot repeat are refused while it runs."""
    takes_input_in_init: bool = False
    failure_exception_types: tuple[type[BaseException], ...] = ()
    where: str = ""

    @cached_property
    def signature(self) -> Signature:
        """What the run method takes and returns."""
        return Signature.of(self.run, is_method=True, where=self.where)

    def read_input(self, started: WorkflowStarted, converter: PayloadConverter) -> list[Any]:
        """The arguments of a start.

        Raises TypeError or ValueError when they are not what the run method takes.
        """
        payloads = started.input
        if self.is_dynamic:
            kind = self.signature.item_type
            if getattr(kind, RAW, False):
                return [[kind(payload) for payload in payloads]]
            return [converter.from_payloads(payloads, [kind] * len(payloads))]
        return self.signature.read(payloads, converter, what=f"{self.name}.{self.run.__name__}")

    def instantiate(self, args: Sequence[Any]) -> Any:
        """An instance of the workflow class."""
        return self.cls(*args) if self.takes_input_in_init else self.cls()

    def call_run(self, instance: Any, args: Sequence[Any]) -> Awaitable[Any]:
        """The coroutine of the run method."""
        return self.run(instance, *args)


@dataclass(frozen=True)
class ActivityDefinition:
    """An activity function and how it is called."""

    name: str
    """Its type; empty for the dynamic one, which takes every type that has no other."""
    fn: Callable[..., Any]
    is_async: bool
    is_method: bool = False
    is_dynamic: bool = False
    is_variadic: bool = False
    """Whether it takes any number of arguments."""
    no_thread_cancel_exception: bool = False
    where: str = ""

    @cached_property
    def signature(self) -> Signature:
        """What the function takes, without self, and returns."""
        return Signature.of(self.fn, is_method=self.is_method, where=self.where)


@dataclass(frozen=True)
class Signature:
    """The positional parameters of a function, with the types they are read as."""

    names: tuple[str, ...]
    arg_types: tuple[Any, ...]
    """None where there is no hint."""
    required: int
    result_type: Any
    where: str

    @classmethod
    def of(cls, fn: Callable[..., Any], *, is_method: bool, where: str) -> Signature:
        """The signature of a function. Raises DefinitionError when its hints cannot be resolved."""
        try:
            hints = typing.get_type_hints(fn, include_extras=True)
        except Exception as error:
            raise DefinitionError(
                f"{where}: the type hints of {fn.__qualname__} cannot be resolved: {error}; "
                "import what they name at run time, not under TYPE_CHECKING"
            ) from error
        parameters = positional(fn)[1 if is_method else 0 :]
        return cls(
            names=tuple(p.name for p in parameters),
            arg_types=tuple(hints.get(p.name) for p in parameters),
            required=sum(p.default is p.empty for p in parameters),
            result_type=hints.get("return"),
            where=where,
        )

    @property
    def item_type(self) -> Any:
        """What a dynamic function's one parameter is a sequence of."""
        items = typing.get_args(self.arg_types[0]) if self.arg_types else ()
        return items[0] if items else None

    def read(self, payloads: Sequence[Any], converter: PayloadConverter, *, what: str) -> list[Any]:
        """The arguments that payloads hold.

        Raises TypeError or ValueError, naming the function and the argument.
        """
        count = len(payloads)
        if not self.required <= count <= len(self.names):
            takes = f"{self.required} to {len(self.names)}"
            if self.required == len(self.names):
                takes = str(self.required)
            raise TypeError(
                f"{what} ({self.where}) takes {takes} argument{'' if takes == '1' else 's'} "
                f"({', '.join(self.names)}), but was given {count}"
            )
        try:
            return converter.from_payloads(payloads, self.arg_types[:count], names=self.names)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what} ({self.where}): {error}") from error

    def check_readable(self) -> None:
        """Refuse hints that no value can be read as. Raises DefinitionError with the parameter."""
        for name, hint in zip(
            (*self.names, "return"), (*self.arg_types, self.result_type), strict=True
        ):
            try:
                check_type_hint(hint)
            except TypeError as error:
                raise DefinitionError(f"{self.where}: {name}: {error}") from error


def workflow_definition(workflow: Any) -> WorkflowDefinition:
    """The definition of a workflow class, or of the class whose run method is given.

    Raises DefinitionError for any other thing.
    """
    # Not by getattr: a subclass is no workflow because its base is.
    found = getattr(workflow, "__dict__", {}).get(WORKFLOW)
    if isinstance(found, WorkflowDefinition):
        return found
    label = getattr(workflow, "__qualname__", repr(workflow))
    raise DefinitionError(
        f"{label} is no workflow: give a class with @workflow.defn above it, its run method, "
        "or its name as a string"
    )


def activity_definition(activity: Any) -> ActivityDefinition:
    """The definition of an activity. Raises DefinitionError for any other thing."""
    found = getattr(activity, ACTIVITY, None)
    if isinstance(found, ActivityDefinition):
        return found
    label = getattr(activity, "__qualname__", repr(activity))
    raise DefinitionError(
        f"{label} ({where_is(activity)}) is no activity: put @activity.defn above it, "
        "or name the activity by a string"
    )


def positional(fn: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function that may be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(fn).parameters.values() if p.kind in kinds]


def where_is(thing: Any) -> str:
    """Where a function stands, as path and line."""
    code = getattr(inspect.unwrap(thing), "__code__", None)
    if code is None:
        return getattr(thing, "__module__", "") or "here"
    return f"{short_path(code.co_filename, thing.__module__)}:{code.co_firstlineno}"


class WorkflowRegistry:
    """The workflow classes that a host runs, by type."""

    def __init__(self, classes: Iterable[type]) -> None:
        self.by_name: dict[str, WorkflowDefinition] = {}
        for cls in classes:
            definition = workflow_definition(cls)
            definition.signature.check_readable()
            other = self.by_name.setdefault(definition.name, definition)
            if other.cls is not cls:
                raise _duplicate("workflow", definition.name, other.where, definition.where)
            if definition.is_guarded:
                # Now, not at the decorator: the module is whole, and its hints are resolved.
                guard_module(sys.modules[cls.__module__])
                guard_audit.install()

    def get(self, name: str) -> WorkflowDefinition | None:
        """The definition of a type: its own, or the dynamic one."""
        return self.by_name.get(name) or self.by_name.get("")


class ActivityRegistry:
    """The activities that a worker runs, by type, as what it calls."""

    def __init__(self, activities: Iterable[Callable[..., Any]]) -> None:
        self.by_name: dict[str, tuple[ActivityDefinition, Callable[..., Any]]] = {}
        for activity in activities:
            definition = activity_definition(activity)
            if inspect.isclass(activity) or (definition.is_method and inspect.isfunction(activity)):
                owner = definition.fn.__qualname__.rpartition(".")[0]
                raise DefinitionError(
                    f"{definition.where}: {definition.name} needs an instance of {owner}: register "
                    f"a method of one, or one that can be called"
                )
            if not definition.is_dynamic:
                definition.signature.check_readable()
            other = self.by_name.setdefault(definition.name, (definition, activity))
            if other[1] != activity:
                raise _duplicate("activity", definition.name, other[0].where, definition.where)

    def get(self, name: str) -> tuple[ActivityDefinition, Callable[..., Any]] | None:
        """The definition of a type and what to call: its own, or the dynamic one."""
        return self.by_name.get(name) or self.by_name.get("")


def _duplicate(kind: str, name: str, first: str, second: str) -> DefinitionError:
    label = f"one {kind} name, {name!r}" if name else f"the one dynamic {kind}"
    return DefinitionError(
        f"two definitions with {label}: {first} and {second}; give one of them another name"
    )


def code_version(definitions: Iterable[WorkflowDefinition], *, build_id: str = "") -> str:
    """A version of the code: the build's own id, or a hash of the workflow modules' sources."""
    if build_id:
        return build_id
    modules = sorted({definition.cls.__module__ for definition in definitions})
    digest = hashlib.blake2b(digest_size=VERSION_BYTES)
    for name in modules:
        file = getattr(sys.modules.get(name), "__file__", None)
        digest.update(f"{name}\n".encode())
        if file and Path(file).is_file():
            digest.update(Path(file).read_bytes())
        else:
            # Code without a file, typed at a prompt: what it compiled to stands for it.
            for definition in sorted(definitions, key=lambda item: item.name):
                code = getattr(definition.run, "__code__", None)
                digest.update(code.co_code if code else b"")
    return digest.hexdigest()
