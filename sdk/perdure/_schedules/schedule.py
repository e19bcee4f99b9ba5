"""Schedules as users define them: action, spec, policy and state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final

from perdure._schedules.spec import ScheduleSpec
from perdure.api.common.v1 import Payload
from perdure.common import Priority, RetryPolicy, SearchAttributes, TypedSearchAttributes

CATCHUP_WINDOW_DEFAULT: Final = timedelta(days=365)
_UNSET: Final = object()
NO_ATTRIBUTES: Final[SearchAttributes] = {}


class ScheduleOverlapPolicy(IntEnum):
    """What happens when an action is due while the one before still runs."""

    SKIP = 1
    """It does not take place."""
    BUFFER_ONE = 2
    """It waits, but no second one does."""
    BUFFER_ALL = 3
    """It waits behind those that wait."""
    CANCEL_OTHER = 4
    """The running one is asked to cancel itself, and this one follows."""
    TERMINATE_OTHER = 5
    """The running one is ended at once, and this one follows."""
    ALLOW_ALL = 6
    """It begins beside the running ones."""


class ScheduleAction:
    """What a schedule does."""


class ScheduleActionStartWorkflow(ScheduleAction):
    """Starts a workflow; its id is made of this one and the time that the action was due."""

    def __init__(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = _UNSET,
        *,
        args: Sequence[Any] = (),
        id: str | None = None,
        task_queue: str | None = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty,
        untyped_search_attributes: SearchAttributes = NO_ATTRIBUTES,
        static_summary: str | None = None,
        static_details: str | None = None,
        headers: Mapping[str, Payload] | None = None,
        raw_info: object = None,
        priority: Priority = Priority.default,
    ) -> None:
        """An action; search attributes may be typed or not, and no name both.

        raw_info, a message of gRPC, is without effect.
        """
        if arg is not _UNSET and args:
            raise ValueError("give one argument by position, or several as args=[...], not both")
        if not id or not task_queue:
            raise ValueError("the action of a schedule needs id and task_queue")
        self.workflow = workflow
        self.args: Sequence[Any] = args if arg is _UNSET else (arg,)
        self.id = id
        self.task_queue = task_queue
        self.execution_timeout = execution_timeout
        self.run_timeout = run_timeout
        self.task_timeout = task_timeout
        self.retry_policy = retry_policy
        self.memo = memo
        self.typed_search_attributes = typed_search_attributes
        self.untyped_search_attributes = untyped_search_attributes
        self.raw_info = raw_info
        self.static_summary = static_summary
        self.static_details = static_details
        self.headers = headers
        self.priority = priority


@dataclass
class SchedulePolicy:
    """What a schedule does when it is in its own way, was away, or fails."""

    overlap: ScheduleOverlapPolicy = field(default_factory=lambda: ScheduleOverlapPolicy.SKIP)
    catchup_window: timedelta | None = None
    """An action that could not be taken within so long counts as missed; None for a year."""
    pause_on_failure: bool = False


@dataclass
class ScheduleState:
    """Whether a schedule acts at all."""

    note: str | None = None
    paused: bool = False
    limited_actions: bool = False
    remaining_actions: int = 0

    @property
    def _is_over(self) -> bool:
        """Whether all the actions it is limited to were taken."""
        return self.limited_actions and self.remaining_actions <= 0

    def _check(self) -> None:
        if self.limited_actions and self.remaining_actions <= 0:
            raise ValueError("limited_actions needs remaining_actions above 0")
        if not self.limited_actions and self.remaining_actions:
            raise ValueError("remaining_actions needs limited_actions=True")


@dataclass
class Schedule:
    """A schedule, whole."""

    action: ScheduleAction
    spec: ScheduleSpec
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    state: ScheduleState = field(default_factory=ScheduleState)


@dataclass(frozen=True)
class ScheduleBackfill:
    """A span of time whose actions are taken now; both ends are in it."""

    start_at: datetime
    end_at: datetime
    overlap: ScheduleOverlapPolicy | None = None


@dataclass
class ScheduleUpdate:
    """What an updater gives back."""

    schedule: Schedule
    search_attributes: TypedSearchAttributes | None = None


class ScheduleActionExecution:
    """What an action has begun."""


@dataclass(frozen=True)
class ScheduleActionExecutionStartWorkflow(ScheduleActionExecution):
    """A workflow that an action has started."""

    workflow_id: str
    first_execution_run_id: str


@dataclass
class ScheduleActionResult:
    """An action that took place, or did not."""

    scheduled_at: datetime
    started_at: datetime
    action: ScheduleActionExecution | None
    reason: str = ""
    """Why it did not take place; empty when it did."""


@dataclass
class ScheduleInfo:
    """What a schedule has done and will do."""

    num_actions: int
    num_actions_missed_catchup_window: int
    num_actions_skipped_overlap: int
    running_actions: Sequence[ScheduleActionExecution]
    recent_actions: Sequence[ScheduleActionResult]
    """The newest ones; also those that did not take place, with the reason."""
    next_action_times: Sequence[datetime]
    created_at: datetime
    last_updated_at: datetime | None
