"""An expense waits for a person, who answers from another process, days later perhaps.

The activity puts a question into a mailbox and leaves its attempt open; whoever reads the mailbox
completes it by its token. A mailbox here is a directory of files; yours is mail, chat or a form.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from perdure import activity, workflow
from perdure.client import Client
from perdure.common import RetryPolicy


@dataclass
class Expense:
    """What somebody wants to spend, and where questions about it are put."""

    what: str
    amount: float
    mailbox: str


@activity.defn
def ask(expense: Expense) -> bool:
    """Put the question into the mailbox; somebody else will answer."""
    info = activity.info()
    question = Path(expense.mailbox) / f"{info.workflow_id}.question"
    # Renamed when it is whole, so that nobody reads half a token.
    draft = question.with_suffix(".draft")
    draft.write_bytes(info.task_token)
    draft.replace(question)
    activity.raise_complete_async()


@workflow.defn
class Approval:
    """Waits a week at most for an answer, and asks again where the mail was lost."""

    @workflow.run
    async def run(self, expense: Expense) -> str:
        """What became of it."""
        is_approved = await workflow.execute_activity(
            ask,
            expense,
            schedule_to_close_timeout=timedelta(days=7),
            start_to_close_timeout=timedelta(days=2),
            retry_policy=RetryPolicy(maximum_attempts=3),
        )
        return f"{expense.what}: {'approved' if is_approved else 'refused'}"


async def answer(client: Client, token: bytes, *, is_approved: bool) -> None:
    """What the person's program does with the token that it found in the mailbox."""
    handle = client.get_async_activity_handle(task_token=token)
    await handle.complete(is_approved)
