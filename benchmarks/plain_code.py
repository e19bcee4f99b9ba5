"""A workflow whose code uses many guarded names; a benchmark loads it twice, once bare."""

from __future__ import annotations

import os
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure import workflow

MINUTE = timedelta(minutes=1)


@workflow.defn
class PlainCodeWorkflow:
    """Three activities, and between them dates, ids, paths and chance as replay allows them."""

    @workflow.run
    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Charge, deduct, notify."""
        said: list[str] = []
        for step in ("charge", "deduct", "notify"):
            due = datetime.fromisoformat("2026-01-31T12:00:00").replace(tzinfo=UTC) + MINUTE
            late = due < datetime.fromtimestamp(0, tz=UTC)
            place = os.path.join("orders", order["order_id"], step)  # noqa: PTH118 - guarded
            draw = random.Random(order["order_id"]).randrange(100)
            name = uuid.uuid5(uuid.NAMESPACE_URL, place)
            said.append(f"{name} {draw} {late} {due.isoformat()}")
            await workflow.execute_activity(step, order, start_to_close_timeout=MINUTE)
        return {"order_id": order["order_id"], "said": said}
