"""The API of workflow code, under Temporal's names. Names only."""

from __future__ import annotations

from perdure.workflow._activities import execute_activity, start_activity
from perdure.workflow._activity_calls import ActivityConfig
from perdure.workflow._activity_methods import (
    execute_activity_class,
    execute_activity_method,
    start_activity_class,
    start_activity_method,
)
from perdure.workflow._asyncio import (
    as_completed,
    cancellation_reason,
    extern_functions,
    in_workflow,
    instance,
    is_failure_exception,
    new_random,
    now,
    payload_converter,
    random,
    random_seed,
    register_random_seed_callback,
    sleep,
    time,
    time_ns,
    uuid4,
    uuid7,
    wait,
    wait_condition,
)
from perdure.workflow._child_calls import ChildWorkflowConfig
from perdure.workflow._child_handle import ChildWorkflowHandle
from perdure.workflow._child_workflows import execute_child_workflow, start_child_workflow
from perdure.workflow._continue_as_new import continue_as_new
from perdure.workflow._decorators import DynamicWorkflowConfig, defn, dynamic_config, init, run
from perdure.workflow._enums import (
    ActivityCancellationType,
    ChildWorkflowCancellationType,
    ParentClosePolicy,
)
from perdure.workflow._event_groups import EventGroup, create_event_group
from perdure.workflow._external import (
    ExternalWorkflowHandle,
    get_external_workflow_handle,
    get_external_workflow_handle_for,
)
from perdure.workflow._external_starts import signal_with_start_workflow
from perdure.workflow._handlers import (
    all_handlers_finished,
    current_update_info,
    get_dynamic_query_handler,
    get_dynamic_signal_handler,
    get_dynamic_update_handler,
    get_query_handler,
    get_signal_handler,
    get_update_handler,
    set_dynamic_query_handler,
    set_dynamic_signal_handler,
    set_dynamic_update_handler,
    set_query_handler,
    set_signal_handler,
    set_update_handler,
)
from perdure.workflow._info import (
    Info,
    ParentInfo,
    RootInfo,
    get_last_completion_result,
    get_last_failure,
    has_last_completion_result,
    info,
    memo,
    memo_value,
)
from perdure.workflow._local_activities import execute_local_activity, start_local_activity
from perdure.workflow._local_activity_calls import LocalActivityConfig
from perdure.workflow._local_activity_methods import (
    execute_local_activity_class,
    execute_local_activity_method,
    start_local_activity_class,
    start_local_activity_method,
)
from perdure.workflow._logger import LoggerAdapter, logger
from perdure.workflow._markers import (
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
from perdure.workflow._message_decorators import (
    HandlerUnfinishedPolicy,
    UpdateMethodMultiParam,
    query,
    signal,
    update,
)
from perdure.workflow._metric_meter import metric_meter
from perdure.workflow._replay_errors import NondeterminismError
from perdure.workflow._unsafe import SandboxImportNotificationPolicy, unsafe
from perdure_actors.replay.activity_calls import ActivityHandle
from perdure_actors.replay.blocked import NotInWorkflowError, ReadOnlyContextError
from perdure_actors.replay.message_handlers import (
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
    UpdateInfo,
)
from perdure_actors.replay.run_outcomes import ContinueAsNewError

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "ChildWorkflowCancellationType",
    "ChildWorkflowConfig",
    "ChildWorkflowHandle",
    "ContinueAsNewError",
    "DynamicWorkflowConfig",
    "EventGroup",
    "ExternalWorkflowHandle",
    "HandlerUnfinishedPolicy",
    "Info",
    "LocalActivityConfig",
    "LoggerAdapter",
    "NondeterminismError",
    "NotInWorkflowError",
    "ParentClosePolicy",
    "ParentInfo",
    "ReadOnlyContextError",
    "RootInfo",
    "SandboxImportNotificationPolicy",
    "UnfinishedSignalHandlersWarning",
    "UnfinishedUpdateHandlersWarning",
    "UpdateInfo",
    "UpdateMethodMultiParam",
    "all_handlers_finished",
    "as_completed",
    "cancellation_reason",
    "continue_as_new",
    "create_event_group",
    "current_update_info",
    "defn",
    "deprecate_patch",
    "dynamic_config",
    "emit",
    "execute_activity",
    "execute_activity_class",
    "execute_activity_method",
    "execute_child_workflow",
    "execute_local_activity",
    "execute_local_activity_class",
    "execute_local_activity_method",
    "extern_functions",
    "get_current_details",
    "get_dynamic_query_handler",
    "get_dynamic_signal_handler",
    "get_dynamic_update_handler",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "get_last_completion_result",
    "get_last_failure",
    "get_query_handler",
    "get_signal_handler",
    "get_update_handler",
    "has_last_completion_result",
    "in_workflow",
    "info",
    "init",
    "instance",
    "is_failure_exception",
    "logger",
    "memo",
    "memo_value",
    "metric_meter",
    "mutable_side_effect",
    "new_random",
    "now",
    "patched",
    "payload_converter",
    "query",
    "random",
    "random_seed",
    "register_random_seed_callback",
    "run",
    "set_current_details",
    "set_dynamic_query_handler",
    "set_dynamic_signal_handler",
    "set_dynamic_update_handler",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
    "side_effect",
    "signal",
    "signal_with_start_workflow",
    "sleep",
    "start_activity",
    "start_activity_class",
    "start_activity_method",
    "start_child_workflow",
    "start_local_activity",
    "start_local_activity_class",
    "start_local_activity_method",
    "time",
    "time_ns",
    "unsafe",
    "update",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "uuid7",
    "wait",
    "wait_condition",
]
