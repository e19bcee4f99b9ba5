"""No run without the patch is open any more (`TemporalChangeVersion` says which have it)."""

from __future__ import annotations

from examples.patching.steps import MINUTE, pack, ship, weigh
from perdure import workflow


@workflow.defn
class Packing:
    """Packs an order, waits for the lorry, and ships it."""

    @workflow.run
    async def run(self, order: str) -> str:
        """The order's tracking number."""
        workflow.deprecate_patch("weigh-before-packing")
        await workflow.execute_activity(weigh, order, start_to_close_timeout=MINUTE)
        await workflow.execute_activity(pack, order, start_to_close_timeout=MINUTE)
        await workflow.sleep(3600)
        return await workflow.execute_activity(ship, order, start_to_close_timeout=MINUTE)
