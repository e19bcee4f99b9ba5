"""Records rendered as JSON: payloads decoded, bytes in base64."""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import msgspec

from perdure_schemas.avro import UnreadableRecordError, decode
from perdure_schemas.converters import JSON_ENCODING, NULL_ENCODING, write_json
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.replies import Block, HistoryBatch, HistoryPage, RunDescription, RunSummary
from perdure_schemas.tracing import trace_of
from perdure_views.gateway.shapes import (
    BlockShape,
    Description,
    Event,
    HistoryPart,
    Run,
    TroubleShape,
)

VALUE_BYTES_MAX: Final = 32 * 1024
"""A larger payload is shown by its beginning; all of it is downloaded."""
BEGINNING_CHARS: Final = 2048
MEMO_BYTES_MAX: Final = 2048
_LONG_NUMBER: Final = re.compile(rb"\d{16}")


def shown(value: Any) -> Any:
    """A record, or a value in one, as JSON."""
    if isinstance(value, Payload):
        return shown_payload(value)
    if isinstance(value, Record):
        return {name: shown(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    return value


def shown_payload(payload: Payload, *, bytes_max: int = VALUE_BYTES_MAX) -> dict[str, Any]:
    """A payload: its value where it can be read, else what it is and how large."""
    size = len(payload.data)
    out: dict[str, Any] = {"encoding": payload.encoding, "size": size}
    if payload.encoding == NULL_ENCODING:
        out["value"] = None
    elif payload.encoding == JSON_ENCODING and size <= bytes_max:
        try:
            msgspec.json.decode(payload.data)
            out["value"] = msgspec.Raw(payload.data)
            if _LONG_NUMBER.search(payload.data):
                # A browser rounds such a number: it gets the digits as well.
                out["text"] = payload.data.decode()
        except (ValueError, RecursionError):
            out["text"] = payload.data.decode(errors="replace")
    elif payload.encoding == JSON_ENCODING:
        out["text"] = payload.data[:BEGINNING_CHARS].decode(errors="replace")
        out["cut"] = True
    return out


def payload_of(value: msgspec.Raw) -> Payload:
    """JSON that came in, to the last digit, as the payload that Perdure's converters write."""
    data = bytes(value).strip()
    return Payload(encoding=NULL_ENCODING) if data == b"null" else Payload(data=data)


def payload_of_text(text: str) -> Payload | None:
    """A text that came in; none when it is empty."""
    return Payload(data=write_json(text)) if text else None


def run_of(summary: RunSummary) -> Run:
    """A run as a list shows it."""
    return Run(
        workflow_id=summary.workflow_id,
        run_id=summary.run_id,
        workflow_type=summary.workflow_type,
        status=summary.status,
        start_ms=summary.start_ms,
        close_ms=summary.close_ms,
        history_length=summary.history_length,
        task_queue=summary.task_queue,
        partition=summary.partition,
        attempt=summary.attempt,
        block=_block(summary.block),
        memo=_values(summary.memo),
        search_attributes=_values(summary.search_attributes),
        parent=shown(summary.parent),
        first_run_id=summary.first_run_id,
        trouble=None if summary.trouble is None else TroubleShape(**shown(summary.trouble)),
    )


def _values(payloads: dict[str, Payload]) -> dict[str, Any]:
    return {
        name: shown_payload(payload, bytes_max=MEMO_BYTES_MAX) for name, payload in payloads.items()
    }


def _block(block: Block | None) -> BlockShape | None:
    return None if block is None else BlockShape(**shown(block))


_TIMEOUTS: Final = ("run_timeout_ms", "execution_timeout_ms", "task_timeout_ms")
_DESCRIBED: Final = frozenset(
    {
        *_TIMEOUTS,
        "summary",
        "history_size",
        "execution_ms",
        "input",
        "pending_activities",
        "pending_timers",
        "cancel_requested",
        "notices",
        "retry_policy",
        "cron_schedule",
        "static_summary",
        "static_details",
        "root",
        "identity",
    }
)


def description_of(found: RunDescription) -> Description:
    """How a run stands."""
    return Description(
        run=run_of(found.summary),
        history_size=found.history_size,
        execution_ms=found.execution_ms,
        input=shown(found.input),
        pending_activities=shown(found.pending_activities),
        pending_timers=shown(found.pending_timers),
        cancel_requested=found.cancel_requested,
        notices=shown(found.notices),
        timeouts={name: getattr(found, name) for name in _TIMEOUTS},
        retry_policy=shown(found.retry_policy),
        cron_schedule=found.cron_schedule,
        summary=shown(found.static_summary),
        details=shown(found.static_details),
        root=shown(found.root),
        identity=found.identity,
        more={
            name: shown(getattr(found, name))
            for name in found.__struct_fields__
            if name not in _DESCRIBED
        },
    )


def history_of(page: HistoryPage, *, topic: str, partition: int) -> HistoryPart:
    """A part of a history; an event that this release cannot read is shown as such, not skipped."""
    run_id = page.run_id
    events = [
        _event(batch, index, framed, run_id)
        for batch in page.batches
        for index, framed in enumerate(batch.events)
    ]
    return HistoryPart(
        run_id=page.run_id,
        status=page.status,
        topic=topic,
        partition=partition,
        events=events,
        next_seq=page.next_seq,
        more=page.more,
    )


def _event(batch: HistoryBatch, index: int, framed: bytes, run_id: str) -> Event:
    try:
        event = decode(framed)
        kind, attributes = type(event).__name__, shown(event)
        if isinstance(event, WorkflowStarted):
            attributes["trace_id"] = f"{trace_of(event, run_id).trace_id:032x}"
    except UnreadableRecordError as error:
        kind = "Unreadable"
        attributes = {"message": str(error), "bytes": base64.b64encode(framed[:256]).decode()}
    return Event(
        id=batch.seq + index,
        type=kind,
        time_ms=batch.time_ms,
        offset=batch.offset,
        pseq=batch.pseq,
        code_version=batch.code_version,
        attributes=attributes,
    )
