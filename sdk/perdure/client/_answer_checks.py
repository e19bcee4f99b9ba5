"""Whether an answer fits what was asked: its kind, its workflow and where it came from.

Who may write commands may say where an answer to them goes, so an answer that reached an asker is
not believed for its correlation id alone.
"""

from __future__ import annotations

from typing import Any, Final

from perdure_schemas import commands, message_commands, operator_commands
from perdure_schemas.payloads import Record
from perdure_schemas.replies import (
    Accepted,
    HistoryPage,
    Notice,
    QueryAnswer,
    Refused,
    RunClosed,
    RunDescription,
    RunPage,
    TaskQueueInfo,
    UpdateAnswer,
    WorkerOrders,
)

_ANSWERS: Final[dict[type[Record], tuple[type[Record], ...]]] = {
    commands.StartWorkflow: (Accepted, RunClosed, UpdateAnswer),
    commands.CancelWorkflow: (Accepted,),
    commands.TerminateWorkflow: (Accepted,),
    commands.ResetWorkflow: (Accepted,),
    commands.DeleteWorkflow: (Accepted,),
    commands.AwaitResult: (RunClosed,),
    commands.DescribeWorkflow: (RunDescription,),
    commands.ReadHistory: (HistoryPage,),
    commands.ListWorkflows: (RunPage,),
    commands.DescribeTaskQueue: (TaskQueueInfo,),
    commands.CompleteActivity: (Accepted,),
    commands.FailActivity: (Accepted,),
    commands.ConfirmActivityCanceled: (Accepted,),
    commands.HeartbeatActivity: (WorkerOrders,),
    message_commands.SignalWorkflow: (Accepted,),
    message_commands.QueryWorkflow: (QueryAnswer,),
    message_commands.UpdateWorkflow: (UpdateAnswer,),
    message_commands.AwaitUpdate: (UpdateAnswer,),
    operator_commands.PauseActivity: (Accepted,),
    operator_commands.UnpauseActivity: (Accepted,),
    operator_commands.ResetActivity: (Accepted,),
    operator_commands.RetryActivityNow: (Accepted,),
    operator_commands.FailActivityNow: (Accepted,),
    operator_commands.UpdateActivityOptions: (Accepted,),
    operator_commands.SkipInput: (Accepted,),
}
"""What each command is answered, besides a refusal or a notice. One that is not here: anything."""


def misfit(asked: Record, partition: int, body: Any, *, was_start: bool) -> str:
    """Why an answer is none to what a partition was asked; empty when it may be one.

    What was a start may hear once more that it was accepted.
    """
    if isinstance(body, Refused | Notice):
        return ""
    kinds = _ANSWERS.get(type(asked))
    is_again = was_start and isinstance(body, Accepted)
    if kinds is not None and not is_again and not isinstance(body, kinds):
        return f"a {type(asked).__name__} is not answered by a {type(body).__name__}"
    summary = getattr(body, "summary", None)
    about = body if summary is None else summary
    for name in ("workflow_id", "update_id"):
        wanted, said = getattr(asked, name, ""), getattr(about, name, "")
        if wanted and said and wanted != said:
            return f"it is of {name} {said!r}, and {wanted!r} was asked"
    run_id = getattr(asked, "run_id", "")
    if run_id and isinstance(body, HistoryPage) and body.run_id != run_id:
        return f"it is of run {body.run_id!r}, and {run_id!r} was asked"
    if isinstance(body, TaskQueueInfo) and body.partition != partition:
        return f"it tells of partition {body.partition}, and partition {partition} was asked"
    return ""
