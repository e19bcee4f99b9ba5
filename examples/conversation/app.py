"""A cart: told of wishes by signals, asked by queries, changed by updates that may be refused.

What it teaches: a signal says something and waits for no answer; a query looks and changes
nothing; an update changes something and answers, and its validator refuses before anything is
written; `wait_condition` is how a run waits for any of them; an update with a start makes the cart
when there is none. Run it without a broker:

    perdure engine examples.conversation.app --data ./data
    perdure workflow start Cart --id cart-1 --task-queue carts --engine http://127.0.0.1:8080
    perdure workflow signal --id cart-1 wish --input '"lamp"' --engine http://127.0.0.1:8080
    perdure workflow query --id cart-1 items --engine http://127.0.0.1:8080
    perdure workflow update --id cart-1 add --input '"rug"' --input 2 \
        --engine http://127.0.0.1:8080
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from perdure import workflow
from perdure.client import Client, WithStartWorkflowOperation
from perdure.common import WorkflowIDConflictPolicy
from perdure.exceptions import ApplicationError

TASK_QUEUE = "carts"
MANY = 10
IDLE = timedelta(hours=1)


@workflow.defn
class Cart:
    """Open until it is checked out, or nobody has said anything for an hour."""

    def __init__(self) -> None:
        self._items: dict[str, int] = {}
        self._wishes: list[str] = []
        self._heard = 0
        self._is_over = False

    @workflow.run
    async def run(self) -> dict[str, int]:
        """What was in it."""
        while not self._is_over:
            try:
                await workflow.wait_condition(self._news(), timeout=IDLE)
            except TimeoutError:
                return {}
        # Whoever is being answered is answered before the run ends.
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._items

    def _news(self) -> Callable[[], bool]:
        """Whether anything was said since now."""
        heard = self._heard
        return lambda: self._heard > heard

    @workflow.signal
    def wish(self, item: str) -> None:
        """Somebody would like to have this one day; there is no answer."""
        self._wishes.append(item)
        self._heard += 1

    @workflow.query
    def items(self) -> dict[str, int]:
        """What is in it now."""
        return self._items

    @workflow.query
    def wishes(self) -> list[str]:
        """What was wished for."""
        return self._wishes

    @workflow.update
    def add(self, item: str, count: int) -> int:
        """Put something in; how many of it there are then."""
        self._items[item] = self._items.get(item, 0) + count
        self._heard += 1
        return self._items[item]

    @add.validator
    def check_add(self, item: str, count: int) -> None:
        """Refuse what makes no sense: nothing of it is written then."""
        if count < 1 or self._items.get(item, 0) + count > MANY:
            raise ApplicationError(f"1 to {MANY} of each: not {count} more of {item}")

    @workflow.update
    async def check_out(self) -> dict[str, int]:
        """Close it; what is bought."""
        self._is_over = True
        self._heard += 1
        return self._items


async def add(client: Client, cart: str, item: str, count: int) -> int:
    """Put something into a cart, and make the cart when there is none."""
    start = WithStartWorkflowOperation(
        Cart.run,
        id=cart,
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    have: int = await client.execute_update_with_start_workflow(
        Cart.add, args=[item, count], start_workflow_operation=start
    )
    return have
