"""The activity of a batch: one page of runs, each acted on under a request id of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from perdure import activity
from perdure._batches.batch_records import (
    BATCH_ID_PREFIX,
    PAGE_RUNS,
    PAGE_S,
    STEP,
    BatchFailure,
    BatchRun,
    BatchState,
    Page,
    PageState,
    decode_page_state,
    decode_state,
    encode,
    runs_query,
)
from perdure.client import Client
from perdure.client._inputs import NO_METADATA, ResetWorkflowInput
from perdure.client._resets import BUSY, BUSY_S, reset
from perdure_schemas.answers.reset_points import read_point
from perdure_schemas.avro import decode
from perdure_schemas.commands import CancelWorkflow, DeleteWorkflow, TerminateWorkflow
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.operator_commands import RetryActivityNow
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import HistoryPage, Refused, RunDescription

AT_ONCE: Final = 8
TIMEOUT_S: Final = 30.0
BEAT_S: Final = 5.0
GONE: Final = frozenset({"closed", "not_found"})
"""Refusals that say that there was nothing left to do."""


@activity.defn(name=STEP)
async def act_on_page(data: bytes) -> bytes:
    """Act on one page of a batch's runs; what it came to, and where the next begins."""
    state = decode_state(data)
    client = activity.client()
    return encode(await _BatchPage(client, state, await _page_of(client, state)).act())


async def _page_of(client: Client, state: BatchState) -> PageState:
    """The page as an attempt before this one has left it, or one that is listed now."""
    details = activity.info().heartbeat_details
    if details:
        return decode_page_state(details[0])
    size = max(1, min(PAGE_RUNS, int(state.rate * PAGE_S)))
    listed = client.list_workflows(
        runs_query(state), page_size=size, next_page_token=state.token or None
    )
    await listed.fetch_next_page()
    runs = [
        BatchRun(run.id, run.run_id, run.task_queue)
        for run in listed.current_page or ()
        # A batch that finds itself, or another: neither is what its filter is for.
        if not run.id.startswith(BATCH_ID_PREFIX)
    ]
    return PageState(runs, listed.next_page_token or b"")


class _OwnRunError(Exception):
    """A run that this batch has begun."""


class _BatchPage:
    """One page under way."""

    def __init__(self, client: Client, state: BatchState, page: PageState) -> None:
        self._client = client
        self._state = state
        self._page = page
        self._places = asyncio.Semaphore(AT_ONCE)

    async def act(self) -> Page:
        page, rate = self._page, self._state.rate
        handled = frozenset(page.handled)
        left = [run for run in page.runs if run.run_id not in handled]
        began_s = time.monotonic()
        # The next attempt goes on from what is said here, where a worker ends in the middle.
        self._beat()
        async with asyncio.TaskGroup() as group:
            for number, run in enumerate(left):
                await self._wait_until(began_s + number / rate)
                await self._places.acquire()
                group.create_task(self._one(run))
        return Page(page.progress, page.token)

    async def _wait_until(self, due_s: float) -> None:
        while (left_s := due_s - time.monotonic()) > 0:
            self._beat()
            await asyncio.sleep(min(left_s, BEAT_S))
        self._beat()

    def _beat(self) -> None:
        activity.heartbeat(encode(self._page))

    async def _one(self, run: BatchRun) -> None:
        progress = self._page.progress
        try:
            code, message = await self._act(run)
        except Exception as error:
            # One run that cannot be acted on is told of, and stops no other.
            code, message = "error", f"{type(error).__name__}: {error}"
        finally:
            self._places.release()
        self._page.handled.append(run.run_id)
        if not code:
            progress.done += 1
        elif code in GONE:
            progress.skipped += 1
        else:
            progress.failed += 1
            progress.failures.append(BatchFailure(run.id, run.run_id, message))
        self._beat()

    async def _act(self, run: BatchRun) -> tuple[str, str]:
        """The code and the text of a refusal; empty when it was done."""
        kind = self._state.action.kind
        if kind == "reset":
            return await self._reset(run)
        if kind == "retry":
            return await self._retry(run)
        make = {
            "cancel": self._cancel,
            "terminate": self._terminate,
            "signal": self._signal,
            "delete": self._delete,
        }[kind]
        for pause_s in (*BUSY_S, 0.0):
            answer = await self._ask(kind, run, lambda reply: make(run, reply))
            if not isinstance(answer, Refused) or answer.code != BUSY:
                break
            await asyncio.sleep(pause_s)
        return (answer.code, answer.message) if isinstance(answer, Refused) else ("", "")

    def _fields(self, run: BatchRun, reply: ReplyTo) -> dict[str, Any]:
        return {
            "workflow_id": run.id,
            "run_id": run.run_id,
            # A page that is acted on again, because its worker died, does nothing twice.
            "request_id": f"{self._state.id}/{run.run_id}",
            "first_sent_ms": int(time.time() * 1000),
            "identity": self._state.identity,
            "reply": reply,
        }

    def _cancel(self, run: BatchRun, reply: ReplyTo) -> Record:
        return CancelWorkflow(**self._fields(run, reply), reason=self._state.action.reason)

    def _terminate(self, run: BatchRun, reply: ReplyTo) -> Record:
        return TerminateWorkflow(**self._fields(run, reply), reason=self._state.action.reason)

    def _delete(self, run: BatchRun, reply: ReplyTo) -> Record:
        return DeleteWorkflow(**self._fields(run, reply), reason=self._state.action.reason)

    def _signal(self, run: BatchRun, reply: ReplyTo) -> Record:
        action = self._state.action
        return SignalWorkflow(
            **self._fields(run, reply),
            signal_name=action.signal_name,
            input=action.signal_input,
        )

    async def _retry(self, run: BatchRun) -> tuple[str, str]:
        """Start the next attempt of each activity that waits for one."""
        described = await self._client.get_workflow_handle(
            run.id, run_id=run.run_id, task_queue=run.task_queue
        ).describe()
        raw: RunDescription = described.raw_description
        waiting = [
            one for one in raw.pending_activities if one.state in ("backing_off", "exhausted")
        ]
        for one in waiting:
            activity_id = one.activity_id

            def make(reply: ReplyTo, activity_id: str = activity_id) -> Record:
                fields = self._fields(run, reply)
                fields["request_id"] = f"{fields['request_id']}/{activity_id}"
                return RetryActivityNow(**fields, activity_id=activity_id)

            answer = await self._ask("retry", run, make)
            if isinstance(answer, Refused):
                return answer.code, answer.message
        return ("", "") if waiting else ("not_found", "nothing waits for a retry")

    async def _reset(self, run: BatchRun) -> tuple[str, str]:
        state, action = self._state, self._state.action
        input = ResetWorkflowInput(
            id=run.id,
            run_id=run.run_id,
            to=read_point(action.to),
            reason=action.reason,
            exclude=action.exclude,
            again=False,
            rpc_metadata=NO_METADATA,
            rpc_timeout=None,
            task_queue=run.task_queue,
            request_id=f"{state.id}/{run.run_id}",
        )

        async def ask(
            what: str,
            make: Callable[[ReplyTo], Record],
            input: object,
            *,
            is_kept: bool = False,
        ) -> Record:
            del input, is_kept
            answer = await self._ask(what, run, make)
            if isinstance(answer, HistoryPage) and self._has_begun(answer):
                raise _OwnRunError
            return answer

        try:
            await reset(ask, input, state.identity)
        except _OwnRunError:
            return "closed", "it is the new run of a reset of this batch"
        return "", ""

    def _has_begun(self, page: HistoryPage) -> bool:
        """Whether a run is there by a reset of this batch, on a partition whose clock is behind."""
        batch = page.batches[0] if page.batches else None
        if batch is None or batch.seq != 1:
            return False
        started = decode(batch.events[0])
        origin = started.reset if isinstance(started, WorkflowStarted) else None
        return origin is not None and origin.request_id.startswith(f"{self._state.id}/")

    async def _ask(self, what: str, run: BatchRun, make: Callable[[ReplyTo], Record]) -> Record:
        return await self._client._connection.ask_workflow(
            f"{what} of workflow {run.id!r}",
            make,
            workflow_id=run.id,
            task_queue=run.task_queue,
            timeout_s=TIMEOUT_S,
        )
