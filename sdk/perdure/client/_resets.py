"""Resets of a client: the history is read as far as it must be, then the command is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from perdure.client._commands import reset_command
from perdure.client._exceptions import expect
from perdure.client._inputs import ResetWorkflowInput
from perdure_schemas.answers.reset_points import EVENT, seq_at
from perdure_schemas.commands import ReadHistory
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Accepted, HistoryBatch, HistoryPage


class Asks(Protocol):
    """Whoever asks the partition of a workflow."""

    def __call__(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        input: ResetWorkflowInput,
        *,
        is_kept: bool = False,
    ) -> Awaitable[Record]:
        """The answer to a command."""


async def reset(ask: Asks, input: ResetWorkflowInput, identity: str) -> Accepted:
    """Reset a run; what is said of its new one.

    Raises ValueError when the history has no such point, and RPCError for a refusal.
    """
    what = f"reset of workflow {input.id!r}"
    run_id, from_seq, is_more = input.run_id or "", 1, True
    batches: list[HistoryBatch] = []
    while is_more:

        def read(reply: ReplyTo, run_id: str = run_id, from_seq: int = from_seq) -> ReadHistory:
            return ReadHistory(workflow_id=input.id, run_id=run_id, from_seq=from_seq, reply=reply)

        page = expect(HistoryPage, what, await ask(what, read, input))
        run_id, from_seq = page.run_id, page.next_seq
        batches += page.batches
        # An event's number needs no history, only the run that is the newest now.
        is_more = page.more and input.to.kind != EVENT
    seq = seq_at(input.to, batches, f"workflow {input.id!r} run {run_id}")
    command = reset_command(input, run_id, seq, identity)
    return expect(Accepted, what, await ask(what, command, input, is_kept=True))
