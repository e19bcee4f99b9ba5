"""Orders that arrive as records of a topic, whoever produces them: each starts one workflow.

perdure triggers examples.orders.triggers:shop, with the topics `orders` and `orders.dead`.
"""

from __future__ import annotations

from examples.orders.app import TASK_QUEUE, Order
from perdure.triggers import Start, TriggerRecord, Triggers

shop = Triggers("shop-triggers", task_queue=TASK_QUEUE)


@shop.on("orders")
def order_placed(record: TriggerRecord) -> Start:
    order: Order = record.json(Order)
    return Start("OrderWorkflow", [order], id=f"order-{order.order_id}")
