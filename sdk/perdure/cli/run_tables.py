"""Rendering of runs: as a row of a list, as JSON, as a description."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from perdure.cli.output import (
    coloured_status,
    console,
    payload_value,
    print_table,
    short,
    span,
    text,
    time_of,
    time_of_ms,
)
from perdure.client import WorkflowExecution, WorkflowExecutionDescription
from perdure_schemas.replies import PendingActivity


def run_row(run: WorkflowExecution) -> tuple[str, ...]:
    """A run as a row: status, id, type, queue, start, and how long it took."""
    return (
        coloured_status(run.raw_info.status),
        text(run.id),
        text(run.workflow_type),
        text(run.task_queue),
        time_of(run.start_time),
        span(_took_s(run)),
    )


def block_line(run: WorkflowExecution) -> str:
    """Why a run of a list is blocked; empty when it is not."""
    block = run.block
    if block is None:
        return ""
    return (
        f"[red]{text(run.id)}: {text(block.cause)}: {text(block.message.partition(chr(10))[0])}[/]"
    )


def run_json(run: WorkflowExecution) -> dict[str, Any]:
    """A run as JSON: its record."""
    value: dict[str, Any] = msgspec.to_builtins(run.raw_info)
    return value


def print_description(run: WorkflowExecutionDescription) -> None:
    """Print how a run stands."""
    out = console()
    raw = run.raw_description
    out.print(f"[bold]{text(run.id)}[/]  {coloured_status(run.raw_info.status)}")
    rows = [
        ("type", run.workflow_type),
        ("run", run.run_id),
        ("task queue", f"{run.task_queue}, partition {run.raw_info.partition}"),
        ("started", f"{time_of(run.start_time)} by {raw.identity or 'somebody'}"),
        ("closed" if run.close_time else "open for", _closed(run)),
        ("history", f"{run.history_length} events, {raw.history_size} bytes"),
        ("input", ", ".join(short(payload_value(payload)) for payload in raw.input)),
    ]
    if raw.cancel_requested:
        rows.append(("cancel", "requested"))
    for name, value in rows:
        out.print(f"  [dim]{name:<11}[/]{text(value)}", soft_wrap=True)
    _print_block(run)
    for notice in raw.notices:
        if notice.code != "blocked":
            out.print(f"[yellow]![/] {text(notice.message)}", soft_wrap=True)
    if raw.pending_activities:
        print_table(
            ("WAITS FOR", "STATE", "ATTEMPT", "NEXT", "LAST ERROR"),
            [_pending_row(activity) for activity in raw.pending_activities],
        )
    for timer in raw.pending_timers:
        out.print(f"  [dim]timer {text(timer.timer_id)} fires[/] {time_of_ms(timer.due_ms)}")


def _print_block(run: WorkflowExecutionDescription) -> None:
    block = run.block
    if block is None:
        return
    out = console()
    out.print(f"[bold red]blocked[/] ({text(block.cause)}) since {time_of_ms(block.since_ms)}")
    out.print(f"  {text(block.message)}", soft_wrap=True)
    if block.recorded or block.produced:
        out.print(f"  [dim]recorded[/] {text(block.recorded)}", soft_wrap=True)
        out.print(f"  [dim]produced[/] {text(block.produced)}", soft_wrap=True)
    if block.stack_trace:
        out.print(f"[dim]{text(block.stack_trace.rstrip())}[/]", soft_wrap=True)
    if block.cause == "exhausted":
        return
    out.print("  it goes on by itself once a worker with fixed code owns its partition")


def _pending_row(activity: PendingActivity) -> tuple[str, ...]:
    of = f" of {activity.maximum_attempts}" if activity.maximum_attempts else ""
    failure = activity.last_failure
    last = failure.chain[-1] if failure and failure.chain else None
    return (
        text(activity.activity_type),
        activity.state,
        f"{activity.attempt}{of}",
        time_of_ms(activity.next_attempt_ms),
        text(f"{last.type}: {last.message}" if last else ""),
    )


def _closed(run: WorkflowExecution) -> str:
    took = span(_took_s(run))
    return f"{time_of(run.close_time)}, after {took}" if run.close_time else took


def _took_s(run: WorkflowExecution) -> float:
    end = run.close_time or datetime.now(tz=UTC)
    return max((end - run.start_time).total_seconds(), 0.0)
