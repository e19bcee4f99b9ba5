"""The workflow of a batch: page by page until there are no more runs, or somebody stops it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from perdure import workflow
from perdure._batches.batch_records import (
    PROGRESS_KEY,
    STEP,
    BatchState,
    decode_page,
    decode_state,
    encode,
)
from perdure.common import RetryPolicy
from perdure_actors.core.state import BATCH_TYPE

HEARTBEAT: Final = timedelta(seconds=30)
PAGE_TIME: Final = timedelta(hours=1)


@workflow.defn(name=BATCH_TYPE)
class Batch:
    """One batch."""

    @workflow.init
    def __init__(self, data: bytes) -> None:
        self._state: BatchState = decode_state(data)

    @workflow.run
    async def run(self, data: bytes) -> bytes:
        """Act on page after page; what it came to."""
        del data
        state = self._state
        self._show()
        while True:
            await workflow.wait_condition(lambda: not state.progress.paused)
            page = decode_page(
                await workflow.execute_activity(
                    STEP,
                    encode(state),
                    result_type=bytes,
                    start_to_close_timeout=PAGE_TIME,
                    heartbeat_timeout=HEARTBEAT,
                    retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30)),
                )
            )
            state.progress.add(page.progress)
            state.token = page.token
            self._show()
            if not page.token:
                return encode(state.progress)
            if workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(encode(state))

    @workflow.signal(name="pause")
    def pause(self) -> None:
        """Begin no further page."""
        self._state.progress.paused = True
        self._show()

    @workflow.signal(name="resume")
    def resume(self) -> None:
        """Go on."""
        self._state.progress.paused = False
        self._show()

    def _show(self) -> None:
        workflow.upsert_memo({PROGRESS_KEY: encode(self._state.progress)})
