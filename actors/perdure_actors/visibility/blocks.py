"""What a run waits for a person with: its code, or an activity that is out of attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors import table_layout
from perdure_schemas.replies import Block

if TYPE_CHECKING:
    from perdure_actors.core.state import ActivityState, RunState
    from perdure_topics.ports import Table


def block_of(table: Table, state: RunState) -> Block | None:
    """What a run waits for a person with: its code, or an activity that is out of attempts."""
    block = state.block
    if block is not None:
        return Block(
            cause=block.cause,
            message=block.message,
            stack_trace=block.stack_trace,
            recorded=block.recorded,
            produced=block.produced,
            since_ms=state.blocked_ms,
            code_version=block.code_version,
        )
    for activity_id in state.parked:
        data = table.get(table_layout.activity_key(state.run_id, activity_id))
        if data is not None:
            return exhausted_block(state.workflow_id, table_layout.decode_activity(data))
    return None


def exhausted_block(workflow_id: str, activity: ActivityState) -> Block:
    """The block that an activity without attempts is."""
    scheduled, failure = activity.scheduled, activity.last_failure
    last = failure.chain[0] if failure and failure.chain else None
    why = f": {f'{last.type}: ' if last.type else ''}{last.message}" if last else ""
    return Block(
        cause="exhausted",
        message=(
            f"activity {scheduled.activity_type} (id {scheduled.activity_id}) is out of attempts"
            f" after {activity.attempt}{why}. Try it again with: perdure activity retry --id"
            f" {workflow_id} --activity-id {scheduled.activity_id}; or give it up with: perdure"
            " activity fail"
        ),
        since_ms=activity.paused_ms,
    )
