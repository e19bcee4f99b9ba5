"""What an owner proposes about signals that wait for a start: that they wait, and that they expire.

These are events of the partition: no run is about them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_actors.core.buffer_signal import decide_expired
from perdure_schemas.avro import encode

if TYPE_CHECKING:
    from perdure_actors import table_layout
    from perdure_actors.partition.capabilities import Owned
    from perdure_schemas.payloads import Record


def propose_word(shard: Owned, word: Record, *, covers: bool) -> None:
    """Propose an event of the partition about signals that wait."""
    draft = shard.draft()
    draft.events.append(encode(word))
    shard.append_draft(None, draft, covers=covers)
    pending = shard.pending[-1]
    keeping = shard.residents.keeping
    pending.alarms += keeping.happened(word, pending.first_pseq, pending.ops)


def expire(shard: Owned, alarm: table_layout.Alarm) -> None:
    """Say in the log, and to people, that a signal waited long enough."""
    event = decide_expired(shard.world, alarm.owner, int(alarm.id))
    if event is None:
        return
    propose_word(shard, event, covers=False)
    shard.count("signal expired")
    shard.services.finding(
        "signal_expired",
        f"signal {event.signal_name!r} (request {event.request_id!r}) waited for workflow"
        f" {event.workflow_id!r} on task queue {shard.task_queue!r} to be started, in vain: it is"
        " dropped. Start the workflow earlier, or give the signal a longer buffer",
    )
