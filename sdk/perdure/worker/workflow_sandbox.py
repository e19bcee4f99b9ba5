"""The sandbox's names, for code that gives them to a worker: nothing is sandboxed here.

Modules are imported once, and guards in the workflow's own module do what a sandbox is for. So all
of this is accepted and without effect; see docs/guards.md.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from perdure.worker.runners import WorkflowRunner
from perdure_actors.replay.blocked import ForbiddenCallError

__all__ = [
    "RestrictedWorkflowAccessError",
    "SandboxRestrictions",
    "SandboxedWorkflowRunner",
]

RestrictedWorkflowAccessError = ForbiddenCallError
"""What a guarded call raises."""


@dataclass(frozen=True)
class SandboxRestrictions:
    """What a sandbox would pass through and refuse. Without effect."""

    passthrough_modules: AbstractSet[str] = frozenset()
    invalid_modules: Any = None
    invalid_module_members: Any = None
    import_notification_policy: Any = None
    passthrough_all_modules: bool = False
    disable_lazy_sys_module_passthrough: bool = False

    default: ClassVar[SandboxRestrictions]
    passthrough_modules_minimum: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_with_temporal: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_maximum: ClassVar[AbstractSet[str]] = frozenset()
    passthrough_modules_default: ClassVar[AbstractSet[str]] = frozenset()

    def with_passthrough_modules(self, *modules: str) -> Self:
        """The same, with more modules passed through, as all are."""
        return replace(self, passthrough_modules=frozenset({*self.passthrough_modules, *modules}))

    def with_passthrough_all_modules(self) -> Self:
        """The same, with all modules passed through, as all are."""
        return replace(self, passthrough_all_modules=True)

    def with_import_notification_policy(self, policy: Any) -> Self:
        """The same: imports are never notified."""
        return replace(self, import_notification_policy=policy)


SandboxRestrictions.default = SandboxRestrictions()


class SandboxedWorkflowRunner(WorkflowRunner):
    """What a worker may be given, and runs without."""

    def __init__(
        self,
        restrictions: SandboxRestrictions = SandboxRestrictions.default,
        runner_class: type[Any] | None = None,
    ) -> None:
        self.restrictions = restrictions
        self.runner_class = runner_class
