"""workflow.unsafe: calls outside of determinism, as a namespace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Flag, auto

from perdure_actors.replay.runtime import current, maybe_current


class SandboxImportNotificationPolicy(Flag):
    """What a sandbox tells of imports. Without effect: modules are not imported again."""

    SILENT = auto()
    WARN_ON_DYNAMIC_IMPORT = auto()
    WARN_ON_UNINTENTIONAL_PASSTHROUGH = auto()
    RAISE_ON_UNINTENTIONAL_PASSTHROUGH = auto()


class unsafe:  # noqa: N801 - Temporal's name
    """What replay does not protect."""

    def __init__(self) -> None:
        raise RuntimeError("perdure.workflow.unsafe is a namespace: call its functions")

    @staticmethod
    def is_replaying() -> bool:
        """Whether the code runs again what it has run before."""
        return current().is_replaying

    @staticmethod
    def is_replaying_history_events() -> bool:
        """The same: queries are answered from the code as it stands."""
        return current().is_replaying

    @staticmethod
    def is_read_only() -> bool:
        """Whether the code may only look, as in the function of a wait_condition."""
        return bool(current().loop.looking)

    @staticmethod
    @contextmanager
    def imports_passed_through() -> Iterator[None]:
        """Import as usual: modules are never imported again for workflows, so nothing changes."""
        yield

    @staticmethod
    @contextmanager
    def sandbox_unrestricted() -> Iterator[None]:
        """Switch the guards off for a block that is known to be harmless."""
        run = maybe_current()
        if run is None:
            yield
            return
        run.loop.is_unrestricted += 1
        try:
            yield
        finally:
            run.loop.is_unrestricted -= 1

    @staticmethod
    @contextmanager
    def sandbox_import_notification_policy(
        policy: SandboxImportNotificationPolicy,  # noqa: ARG004
    ) -> Iterator[None]:
        """Tell of imports otherwise in the block: nothing is told of them, so nothing changes."""
        yield

    @staticmethod
    def current_import_notification_policy_override() -> SandboxImportNotificationPolicy | None:
        """What such a block said: None, because nothing is kept of it."""
        return None

    @staticmethod
    def in_sandbox() -> bool:
        """Whether the code runs in a sandbox: never."""
        return False

    @staticmethod
    def is_imports_passed_through() -> bool:
        """Whether imports are the usual ones: always."""
        return True

    @staticmethod
    def is_sandbox_unrestricted() -> bool:
        """Whether guards are off, in a block or altogether."""
        run = maybe_current()
        return run is None or bool(run.loop.is_unrestricted)
