"""What workflow code uses, under Temporal's names. Names only; nothing is defined here."""

from __future__ import annotations

from perdure.workflow.activities import execute_activity, start_activity
from perdure.workflow.activity_methods import (
    execute_activity_class,
    execute_activity_method,
    start_activity_class,
    start_activity_method,
)
from perdure.workflow.calling import ActivityConfig
from perdure.workflow.child_calling import ChildWorkflowConfig
from perdure.workflow.child_handles import ChildWorkflowHandle
from perdure.workflow.child_workflows import execute_child_workflow, start_child_workflow
from perdure.workflow.continuing import continue_as_new
from perdure.workflow.decorators import defn, init, run
from perdure.workflow.information import Info, ParentInfo, RootInfo, info, memo, memo_value
from perdure.workflow.kinds import (
    ActivityCancellationType,
    ChildWorkflowCancellationType,
    ParentClosePolicy,
)
from perdure.workflow.logs import LoggerAdapter, logger
from perdure.workflow.measuring import metric_meter
from perdure.workflow.noting import (
    deprecate_patch,
    emit,
    get_current_details,
    mutable_side_effect,
    patched,
    set_current_details,
    side_effect,
    upsert_memo,
    upsert_search_attributes,
)
from perdure.workflow.risks import unsafe
from perdure.workflow.running import (
    as_completed,
    cancellation_reason,
    in_workflow,
    instance,
    new_random,
    now,
    payload_converter,
    random,
    random_seed,
    sleep,
    time,
    time_ns,
    uuid4,
    uuid7,
    wait,
    wait_condition,
)
from perdure_actors.replay.activities import ActivityHandle
from perdure_actors.replay.blocked import NotInWorkflowError, ReadOnlyContextError
from perdure_actors.replay.ending import ContinueAsNewError

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "ChildWorkflowCancellationType",
    "ChildWorkflowConfig",
    "ChildWorkflowHandle",
    "ContinueAsNewError",
    "Info",
    "LoggerAdapter",
    "NotInWorkflowError",
    "ParentClosePolicy",
    "ParentInfo",
    "ReadOnlyContextError",
    "RootInfo",
    "as_completed",
    "cancellation_reason",
    "continue_as_new",
    "defn",
    "deprecate_patch",
    "emit",
    "execute_activity",
    "execute_activity_class",
    "execute_activity_method",
    "execute_child_workflow",
    "get_current_details",
    "in_workflow",
    "info",
    "init",
    "instance",
    "logger",
    "memo",
    "memo_value",
    "metric_meter",
    "mutable_side_effect",
    "new_random",
    "now",
    "patched",
    "payload_converter",
    "random",
    "random_seed",
    "run",
    "set_current_details",
    "side_effect",
    "sleep",
    "start_activity",
    "start_activity_class",
    "start_activity_method",
    "start_child_workflow",
    "time",
    "time_ns",
    "unsafe",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "uuid7",
    "wait",
    "wait_condition",
]
