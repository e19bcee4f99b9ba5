"""Three ways in which an activity may end that does not succeed at once.

It is tried again by its policy; it says itself that trying again is of no use; or it is out of
attempts and waits for a person, because giving up would be worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.exceptions import ActivityError, ApplicationError

MINUTE = timedelta(minutes=1)


@dataclass
class Transfer:
    """Money that is to move."""

    source: str
    target: str
    amount: int


class Bank:
    """A bank that is not always there; its methods are activities."""

    def __init__(self) -> None:
        self.takes_back = True
        self.accounts = {"ann": 100, "bob": 0}
        self.failures_left = 0
        self.done: set[str] = set()

    @activity.defn
    async def withdraw(self, account: str, amount: int) -> None:
        """Take money. Trying again would not make it more."""
        if account not in self.accounts:
            raise ApplicationError(f"there is no account {account!r}", non_retryable=True)
        self._move(account, -amount)

    @activity.defn
    async def deposit(self, account: str, amount: int) -> None:
        """Give money."""
        if account not in self.accounts:
            raise ApplicationError(f"there is no account {account!r}", non_retryable=True)
        self._move(account, amount)

    @activity.defn
    async def put_back(self, account: str, amount: int) -> None:
        """Give money back: the compensation of a withdrawal."""
        if not self.takes_back:
            raise ApplicationError("the bank is closed")
        self._move(account, amount)

    def _move(self, account: str, amount: int) -> None:
        """Once for each call, however often it is tried: by its idempotency key."""
        if self.failures_left > 0:
            self.failures_left -= 1
            raise ApplicationError("the line is busy")
        key = activity.info().idempotency_key
        if key not in self.done:
            self.done.add(key)
            self.accounts[account] += amount


@workflow.defn
class Transferring:
    """A saga of two steps: what was withdrawn is put back where it cannot be deposited."""

    @workflow.run
    async def run(self, transfer: Transfer) -> str:
        """What became of it."""
        await workflow.execute_activity_method(
            Bank.withdraw,
            args=[transfer.source, transfer.amount],
            start_to_close_timeout=MINUTE,
            retry_policy=RetryPolicy(maximum_interval=MINUTE),
        )
        try:
            await workflow.execute_activity_method(
                Bank.deposit,
                args=[transfer.target, transfer.amount],
                start_to_close_timeout=MINUTE,
                retry_policy=RetryPolicy(maximum_attempts=5),
            )
        except ActivityError as error:
            # Money must not be lost: out of attempts, this one waits for a person.
            await workflow.execute_activity_method(
                Bank.put_back,
                args=[transfer.source, transfer.amount],
                start_to_close_timeout=MINUTE,
                retry_policy=RetryPolicy(maximum_attempts=3),
                on_exhausted="pause",
            )
            return f"put back: {error.cause}"
        return "transferred"
