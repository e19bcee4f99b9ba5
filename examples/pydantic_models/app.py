"""Models in, models out (python -m examples.pydantic_models.app).

No converter is needed for models. The one of contrib reads everything else by pydantic's rules as
well: here the "2" of a program that writes text becomes a number.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import timedelta
from decimal import Decimal

from pydantic import BaseModel, Field

from perdure import activity, workflow
from perdure.client import Client
from perdure.contrib.pydantic import pydantic_data_converter
from perdure.worker import Worker

QUEUE = "carts"


class Item(BaseModel):
    name: str
    count: int = Field(gt=0)
    price: Decimal


class Cart(BaseModel):
    items: list[Item]


class Bill(BaseModel):
    total: Decimal


@activity.defn
async def add_up(cart: Cart) -> Bill:
    return Bill(total=sum((item.price * item.count for item in cart.items), Decimal(0)))


@workflow.defn
class Checkout:
    @workflow.run
    async def run(self, cart: Cart) -> Bill:
        return await workflow.execute_activity(
            add_up, cart, start_to_close_timeout=timedelta(seconds=10)
        )


async def main(target: str) -> Bill:
    client = await Client.connect(target, data_converter=pydantic_data_converter)
    async with Worker(client, task_queue=QUEUE, workflows=[Checkout], activities=[add_up]):
        # As another program would start it: by name, with plain values.
        cart = {"items": [{"name": "lamp", "count": "2", "price": "12.50"}]}
        bill: Bill = await client.execute_workflow(
            "Checkout", cart, id="cart-1", task_queue=QUEUE, result_type=Bill
        )
    await client.close()
    print(bill)
    return bill


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else f"file:{directory}"))
