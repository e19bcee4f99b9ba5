"""What users define, as records: workflow classes, activities, and registries of them.

Definitions are attributes of what they define; a registry is made of what a host or a worker is
given, never filled by an import.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from perdure_actors.definitions.handlers import HandlerDefinition
from perdure_actors.definitions.signatures import CheckHint, DefinitionError, Signature, where_is
from perdure_actors.replay import guard_audit
from perdure_actors.replay.guard import guard_module
from perdure_schemas.converters import RAW, PayloadConverter, check_type_hint
from perdure_schemas.events import WorkflowStarted

VERSION_BYTES = 8
WORKFLOW = "__perdure_workflow__"
RUN = "__perdure_run__"
INIT = "__perdure_init__"
DYNAMIC_CONFIG = "__perdure_dynamic_config__"
ACTIVITY = "__perdure_activity__"


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
    signals: Mapping[str, HandlerDefinition] = field(default_factory=dict)
    """Handlers by name; the dynamic one is under the empty name."""
    queries: Mapping[str, HandlerDefinition] = field(default_factory=dict)
    updates: Mapping[str, HandlerDefinition] = field(default_factory=dict)
    dynamic_config: Callable[[Any], Any] | None = None
    """A method of a dynamic workflow that says more of a run, once there is an instance."""

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

    def more_failures(self, instance: Any) -> tuple[type[BaseException], ...]:
        """What else fails this run, as its dynamic configuration says."""
        if self.dynamic_config is None:
            return ()
        return tuple(self.dynamic_config(instance).failure_exception_types or ())

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


class WorkflowRegistry:
    """The workflow classes that a host runs, by type."""

    def __init__(self, classes: Iterable[type], *, check_hint: CheckHint = check_type_hint) -> None:
        """`check_hint` refuses what the converter of values cannot read, by TypeError."""
        self.by_name: dict[str, WorkflowDefinition] = {}
        for cls in classes:
            definition = workflow_definition(cls)
            definition.signature.check_readable(check_hint)
            for handlers in (definition.signals, definition.queries, definition.updates):
                for handler in handlers.values():
                    handler.check_readable(check_hint)
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

    def __init__(
        self,
        activities: Iterable[Callable[..., Any]],
        *,
        builtin: Iterable[Callable[..., Any]] = (),
        check_hint: CheckHint = check_type_hint,
    ) -> None:
        """`check_hint` refuses what the converter of values cannot read, by TypeError."""
        self.by_name: dict[str, tuple[ActivityDefinition, Callable[..., Any]]] = {}
        pairs = ((activity_definition(activity), activity) for activity in builtin)
        self._builtin = {definition.name: (definition, one) for definition, one in pairs}
        """Those that every worker has; they are not told of."""
        for activity in activities:
            definition = activity_definition(activity)
            if inspect.isclass(activity) or (definition.is_method and inspect.isfunction(activity)):
                owner = definition.fn.__qualname__.rpartition(".")[0]
                raise DefinitionError(
                    f"{definition.where}: {definition.name} needs an instance of {owner}: register "
                    f"a method of one, or one that can be called"
                )
            if not definition.is_dynamic:
                definition.signature.check_readable(check_hint)
            other = self.by_name.setdefault(definition.name, (definition, activity))
            if other[1] != activity:
                raise _duplicate("activity", definition.name, other[0].where, definition.where)

    def get(self, name: str) -> tuple[ActivityDefinition, Callable[..., Any]] | None:
        """The definition of a type and what to call: its own, or the dynamic one."""
        return self.by_name.get(name) or self._builtin.get(name) or self.by_name.get("")


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
