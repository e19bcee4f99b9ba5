"""An account that lives for ever: its history is begun anew whenever it has become long.

What it teaches: one workflow an entity, found by its id; what the next run has to know is its
input; `continue_as_new` once it is suggested, when all handlers have finished; a message that comes
meanwhile is taken by the next run. Run it without a broker:

    perdure engine examples.entity.app --data ./data
    perdure workflow start Account --id account-ann --task-queue accounts \
        --engine http://127.0.0.1:8080 --input '{"owner": "ann"}'
    perdure workflow update --id account-ann deposit --input 30 --engine http://127.0.0.1:8080
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure import workflow
from perdure.exceptions import ApplicationError

TASK_QUEUE = "accounts"
SHOWN = 5


@dataclass
class Standing:
    """All that an account goes on with from run to run."""

    owner: str
    balance: int = 0
    movements: int = 0
    latest: list[int] = field(default_factory=list)
    moves_a_run: int | None = None
    """Begin anew after so many; without it, when the history is long."""


@workflow.defn
class Account:
    """Takes deposits and withdrawals until it is closed."""

    @workflow.init
    def __init__(self, standing: Standing) -> None:
        # Messages may be handled before the run method begins.
        self._standing = standing
        self._moved = 0
        self._is_closed = False

    @workflow.run
    async def run(self, standing: Standing) -> int:
        """What was left when it was closed."""
        del standing
        await workflow.wait_condition(lambda: self._is_closed or self._is_long())
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._is_closed:
            workflow.continue_as_new(self._standing)
        return self._standing.balance

    def _is_long(self) -> bool:
        most = self._standing.moves_a_run
        if most is not None:
            return self._moved >= most
        return workflow.info().is_continue_as_new_suggested()

    @workflow.update
    def deposit(self, amount: int) -> int:
        """Put money in; the new balance."""
        return self._move(amount)

    @workflow.update
    def withdraw(self, amount: int) -> int:
        """Take money out; the new balance."""
        return self._move(-amount)

    @withdraw.validator
    def check_withdraw(self, amount: int) -> None:
        """Refuse what is not there."""
        if amount > self._standing.balance:
            raise ApplicationError(f"{self._standing.balance} is all there is")

    def _move(self, amount: int) -> int:
        standing = self._standing
        standing.balance += amount
        standing.movements += 1
        standing.latest = [*standing.latest, amount][-SHOWN:]
        self._moved += 1
        return standing.balance

    @workflow.signal
    def close(self) -> None:
        """No more."""
        self._is_closed = True

    @workflow.query
    def standing(self) -> Standing:
        """How it stands."""
        return self._standing
