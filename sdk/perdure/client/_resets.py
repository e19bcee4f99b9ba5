"""Resets and deletes of a client: what must be known first is asked for, then the command sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from perdure.client._commands import delete_command, reset_command
from perdure.client._exceptions import expect
from perdure.client._inputs import DeleteWorkflowInput, ResetWorkflowInput
from perdure_schemas.answers.reset_points import EVENT, seq_at
from perdure_schemas.commands import ReadHistory
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Accepted, HistoryBatch, HistoryPage, Refused

BUSY: Final = "busy"
BUSY_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""How long a run that has just ended is left alone before it is asked about again."""


class Asks(Protocol):
    """Whoever asks the partition of a workflow."""

    def __call__(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        input: ResetWorkflowInput | DeleteWorkflowInput,
        *,
        is_kept: bool = False,
    ) -> Awaitable[Record]:
        """The answer to a command."""


async def delete(ask: Asks, input: DeleteWorkflowInput, identity: str) -> None:
    """Forget a closed run. One that has just ended is waited for, a few seconds at most.

    Raises RPCError for a refusal.
    """
    what = f"delete of workflow {input.id!r}"
    for pause_s in (*BUSY_S, None):
        answer = await ask(what, delete_command(input, identity), input, is_kept=True)
        if pause_s is None or not isinstance(answer, Refused) or answer.code != BUSY:
            expect(Accepted, what, answer)
            return
        await asyncio.sleep(pause_s)


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
