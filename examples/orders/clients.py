"""Stand-ins for the shop's payment provider, stock and mail: each call leaves a line in a file.

What goes wrong with an order is written in it.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from perdure.exceptions import ApplicationError

JOURNAL = "ORDERS_JOURNAL"
CHARGE_S = 0.3
SOLD_OUT = "sold-out"
REFUND_FAILS_TWICE = "slow-bank"
REFUND_NEVER = "closed-bank"
BANK_OPENED = "bank-opened"
"""A file beside the journal: once it is there, the closed bank has opened again."""


class Journal:
    """Appends a line a call; one write of a short line to a file opened to append is whole."""

    def __init__(self, path: str | None = None) -> None:
        self.path = Path(path or os.environ.get(JOURNAL, "orders-journal.jsonl"))

    def write(self, order_id: str, activity: str, key: str, *, done: bool) -> None:
        line = json.dumps({"order": order_id, "activity": activity, "key": key, "done": done})
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)


class PaymentClient:
    def __init__(self) -> None:
        self.journal = Journal()

    async def charge(self, order_id: str, amount_cents: int, *, key: str) -> str:
        # The money is taken first, the answer comes later: a worker that dies in between
        # charges again, under the same key, which a real provider knows to be the same charge.
        self.journal.write(order_id, "charge", key, done=True)
        await asyncio.sleep(CHARGE_S)
        return f"charge-{order_id}-{amount_cents}"

    async def refund(
        self, order_id: str, charge_id: str, bank: str, *, key: str, attempt: int
    ) -> str:
        never = 0 if self.journal.path.with_name(BANK_OPENED).exists() else 1_000
        fails = {REFUND_FAILS_TWICE: 2, REFUND_NEVER: never}.get(bank, 0)
        self.journal.write(order_id, "refund", key, done=attempt > fails)
        if attempt <= fails:
            raise ConnectionError(f"the bank did not answer for {charge_id}")
        return f"refund-{charge_id}"


class InventoryClient:
    def __init__(self) -> None:
        self.journal = Journal()

    async def deduct(self, order_id: str, product_id: str, quantity: int, *, key: str) -> str:
        fails = product_id.startswith(SOLD_OUT)
        self.journal.write(order_id, "deduct", key, done=not fails)
        if fails:
            raise ApplicationError(
                f"{product_id} is sold out", type="OutOfStock", non_retryable=True
            )
        return f"{quantity} x {product_id}"


class MailClient:
    def __init__(self) -> None:
        self.journal = Journal()

    async def send(self, order_id: str, email: str | None, text: str, *, key: str) -> str:
        self.journal.write(order_id, "notify", key, done=email is not None)
        if email is None:
            raise ApplicationError("the user left no address", type="NoAddress", non_retryable=True)
        return email
