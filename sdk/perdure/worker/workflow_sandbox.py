"""Names of Temporal's sandbox; nothing is sandboxed.

Modules are imported once, and guards in the workflow's own module do what a sandbox is for. So all
of this is accepted and without effect; see docs/guards.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from perdure.worker._runners import AsHostsRun
from perdure.workflow._unsafe import SandboxImportNotificationPolicy
from perdure_actors.replay.blocked import ForbiddenCallError

__all__ = [
    "RestrictedWorkflowAccessError",
    "SandboxMatcher",
    "SandboxRestrictions",
    "SandboxedWorkflowRunner",
    "UnintentionalPassthroughError",
]

RestrictedWorkflowAccessError = ForbiddenCallError
"""What a guarded call raises."""


class UnintentionalPassthroughError(RestrictedWorkflowAccessError):
    """A module was not passed through, and was to be. Never raised: modules are imported once."""

    def __init__(self, qualified_name: str) -> None:
        super().__init__(
            qualified_name,
            override_message=f"module {qualified_name} was not passed through, and was to be",
        )


@dataclass(frozen=True)
class SandboxMatcher:
    """Names of modules and of what is in them, as a tree. Without effect on what is guarded."""

    access: AbstractSet[str] = frozenset()
    use: AbstractSet[str] = frozenset()
    children: Mapping[str, SandboxMatcher] = field(default_factory=dict)
    match_self: bool = False
    only_runtime: bool = False
    leaf_message: str | None = None
    leaf_warning: type[Warning] | None = None
    exclude: AbstractSet[str] = frozenset()

    none: ClassVar[SandboxMatcher]
    all: ClassVar[SandboxMatcher]
    all_runtime: ClassVar[SandboxMatcher]
    all_uses: ClassVar[SandboxMatcher]
    all_uses_runtime: ClassVar[SandboxMatcher]

    @staticmethod
    def nested_child(path: Sequence[str], child: SandboxMatcher) -> SandboxMatcher:
        """A matcher whose only child at a path is this one."""
        made = child
        for name in reversed(path):
            made = SandboxMatcher(children={name: made})
        return made

    def access_matcher(
        self, context: Any, *child_path: str, include_use: bool = False
    ) -> SandboxMatcher | None:
        """The matcher that names a path, if one does; the context does not matter here."""
        found = self
        for name in child_path:
            named = found.access | found.use if include_use else found.access
            if found.match_self or (
                not named.isdisjoint({name, "*"}) and name not in found.exclude
            ):
                return found
            child = found.child_matcher(name)
            if child is None:
                return None
            found = child
        return found if found.match_self else None

    def match_access(self, context: Any, *child_path: str, include_use: bool = False) -> bool:
        """Whether a path is named."""
        return self.access_matcher(context, *child_path, include_use=include_use) is not None

    def child_matcher(self, *child_path: str) -> SandboxMatcher | None:
        """The matcher of what is under a path."""
        found: SandboxMatcher | None = self
        for name in child_path:
            found = None if found is None else found.children.get(name)
        return found

    def with_child_unrestricted(self, *child_path: str) -> SandboxMatcher:
        """The same without a path. Raises ValueError for an empty one."""
        if not child_path:
            raise ValueError("give the path of a child")
        name, *rest = child_path
        if rest:
            child = self.children.get(name)
            if child is None:
                return self
            return replace(
                self, children={**self.children, name: child.with_child_unrestricted(*rest)}
            )
        left = {key: child for key, child in self.children.items() if key != name}
        return replace(self, access=self.access - {name}, use=self.use - {name}, children=left)

    def __or__(self, other: SandboxMatcher) -> SandboxMatcher:
        """What either names."""
        both = self.children.keys() & other.children.keys()
        merged = {name: self.children[name] | other.children[name] for name in both}
        return SandboxMatcher(
            access=self.access | other.access,
            use=self.use | other.use,
            children={**self.children, **other.children, **merged},
            match_self=self.match_self or other.match_self,
            only_runtime=self.only_runtime or other.only_runtime,
            leaf_message=self.leaf_message or other.leaf_message,
            leaf_warning=self.leaf_warning or other.leaf_warning,
            exclude=self.exclude | other.exclude,
        )


SandboxMatcher.none = SandboxMatcher()
SandboxMatcher.all = SandboxMatcher(match_self=True)
SandboxMatcher.all_runtime = SandboxMatcher(match_self=True, only_runtime=True)
SandboxMatcher.all_uses = SandboxMatcher(use=frozenset({"*"}))
SandboxMatcher.all_uses_runtime = SandboxMatcher(use=frozenset({"*"}), only_runtime=True)


@dataclass(frozen=True)
class SandboxRestrictions:
    """What a sandbox would pass through and refuse. Without effect."""

    passthrough_modules: AbstractSet[str]
    invalid_modules: SandboxMatcher
    invalid_module_members: SandboxMatcher
    import_notification_policy: SandboxImportNotificationPolicy = (
        SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    )
    passthrough_all_modules: bool = False
    disable_lazy_sys_module_passthrough: bool = False

    default: ClassVar[SandboxRestrictions]
    passthrough_modules_minimum: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_with_temporal: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_maximum: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_default: ClassVar[AbstractSet[str]] = frozenset()
    invalid_module_members_default: ClassVar[SandboxMatcher]

    def with_passthrough_modules(self, *modules: str) -> Self:
        """The same, with more modules passed through, as all are."""
        return replace(self, passthrough_modules=frozenset({*self.passthrough_modules, *modules}))

    def with_passthrough_all_modules(self) -> Self:
        """The same, with all modules passed through, as all are."""
        return replace(self, passthrough_all_modules=True)

    def with_import_notification_policy(self, policy: SandboxImportNotificationPolicy) -> Self:
        """The same: imports are never notified."""
        return replace(self, import_notification_policy=policy)


SandboxRestrictions.invalid_module_members_default = SandboxMatcher.none
SandboxRestrictions.default = SandboxRestrictions(
    frozenset(), SandboxMatcher.none, SandboxMatcher.none
)


@dataclass(frozen=True)
class SandboxedWorkflowRunner(AsHostsRun):
    """What a worker may be given, and runs without."""

    restrictions: SandboxRestrictions = SandboxRestrictions.default
    runner_class: type[Any] | None = None
