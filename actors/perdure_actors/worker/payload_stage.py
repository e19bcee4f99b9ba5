"""The gate between a worker's desk and its runner where payloads are decoded and encoded.

It stands there only when there is a codec or an external storage. All of it is on the event
loop's thread; what it waits for, it waits for in tasks of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from perdure_actors.definitions.payload_codecs import (
    CodecError,
    PayloadCodecs,
    codecs_in_context,
    decode_records,
    encode_payloads,
    encode_records,
)
from perdure_actors.replay.contexts import context_of_task
from perdure_actors.worker.attempt import Attempt, Phase, application_failure
from perdure_schemas.payloads import Failure, Payload

logger = logging.getLogger(__name__)


class Desk(Protocol):
    """What a runner tells of its attempts."""

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""

    def detached(self, attempt: Attempt) -> None:
        """The code ended without an outcome: somebody else will report one."""

    def stopped(self, attempt: Attempt) -> None:
        """The code ended because its worker stops."""

    def hand_back(self, attempt: Attempt, reason: str) -> None:
        """Another worker should run it: it has not begun."""

    def free(self, attempt: Attempt) -> None:
        """The code has ended: its slot is free."""

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """The code gave a sign of life."""


class Starter(Protocol):
    """What runs the code of attempts."""

    def start(self, attempt: Attempt) -> None:
        """Run an attempt's code."""

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop."""


class ActivityGate:
    """Is the runner to the desk, and the desk to the runner."""

    def __init__(
        self,
        codecs: PayloadCodecs,
        *,
        on_change: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._codecs = codecs
        self._on_change = on_change
        self._on_fatal = on_fatal
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: dict[Attempt, str] = {}
        """Attempts whose input is being decoded; why each should stop, if it should."""
        self._beats: dict[Attempt, list[Payload]] = {}
        self._beating: dict[Attempt, asyncio.Task[None]] = {}
        self.desk: Desk | None = None
        self.runner: Starter | None = None

    @property
    def is_busy(self) -> bool:
        """Whether anything is on its way through."""
        return bool(self._tasks)

    def _spawn(self, call: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _codecs_of(self, attempt: Attempt) -> PayloadCodecs:
        """What the payloads of an attempt go through."""
        task = attempt.task
        return codecs_in_context(
            self._codecs, context_of_task(task), what=f"activity {task.activity_type}"
        )

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_fatal(error)
        self._on_change()

    # What the desk asks.

    def start(self, attempt: Attempt) -> None:
        """Run an attempt's code once its input is decoded."""
        self._opening[attempt] = ""
        self._spawn(self._start(attempt))

    async def _start(self, attempt: Attempt) -> None:
        assert self.runner is not None
        assert self.desk is not None
        what = f"activity {attempt.task.activity_type} of workflow {attempt.task.workflow_id!r}"
        try:
            codecs = self._codecs_of(attempt)
            attempt.task = (await decode_records([attempt.task], codecs, what=what))[0]
        except CodecError as error:
            self._opening.pop(attempt)
            self.desk.failed(attempt, _failure(error))
            return
        reason = self._opening.pop(attempt)
        if attempt.phase is not Phase.RUNNING:
            # It was given up while its input was decoded.
            self.desk.free(attempt)
            return
        self.runner.start(attempt)
        if reason:
            self.runner.cancel(attempt, reason)

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Ask an attempt's code to stop, now or as soon as it runs."""
        if attempt in self._opening:
            self._opening[attempt] = self._opening[attempt] or reason
        else:
            assert self.runner is not None
            self.runner.cancel(attempt, reason)

    # What the runner tells.

    def completed(self, attempt: Attempt, result: Payload | None) -> None:
        """The code returned."""
        self._spawn(self._completed(attempt, [] if result is None else [result]))

    async def _completed(self, attempt: Attempt, results: list[Payload]) -> None:
        assert self.desk is not None
        await self._last_beat(attempt)
        try:
            codecs = self._codecs_of(attempt)
            results = await encode_payloads(results, codecs, what=_of(attempt, "result"))
        except CodecError as error:
            self.desk.failed(attempt, _failure(error))
            return
        self.desk.completed(attempt, results[0] if results else None)

    def failed(self, attempt: Attempt, failure: Failure) -> None:
        """The code failed."""
        self._spawn(self._failed(attempt, failure))

    async def _failed(self, attempt: Attempt, failure: Failure) -> None:
        assert self.desk is not None
        await self._last_beat(attempt)
        try:
            codecs = self._codecs_of(attempt)
            failure = (await encode_records([failure], codecs, what=_of(attempt, "failure")))[0]
        except CodecError as error:
            failure = _failure(error)
        self.desk.failed(attempt, failure)

    def canceled(self, attempt: Attempt, details: Sequence[Payload] = ()) -> None:
        """The code ended because it was asked to cancel."""
        self._spawn(self._canceled(attempt, details))

    async def _canceled(self, attempt: Attempt, details: Sequence[Payload]) -> None:
        assert self.desk is not None
        await self._last_beat(attempt)
        try:
            codecs = self._codecs_of(attempt)
            details = await encode_payloads(details, codecs, what=_of(attempt, "details"))
        except CodecError:
            # That it has ended matters more than what it said.
            details = ()
        self.desk.canceled(attempt, details)

    def detached(self, attempt: Attempt) -> None:
        """The code ended without an outcome: somebody else will report one."""
        self._spawn(self._detached(attempt))

    async def _detached(self, attempt: Attempt) -> None:
        assert self.desk is not None
        await self._last_beat(attempt)
        self.desk.detached(attempt)

    def stopped(self, attempt: Attempt) -> None:
        """The code ended because its worker stops."""
        assert self.desk is not None
        self._spawn(self._stopped(attempt))

    async def _stopped(self, attempt: Attempt) -> None:
        assert self.desk is not None
        await self._last_beat(attempt)
        self.desk.stopped(attempt)

    def hand_back(self, attempt: Attempt, reason: str) -> None:
        """Another worker should run it: it has not begun."""
        assert self.desk is not None
        self.desk.hand_back(attempt, reason)

    def free(self, attempt: Attempt) -> None:
        """The code has ended: its slot is free."""
        assert self.desk is not None
        self.desk.free(attempt)

    def heartbeat(self, attempt: Attempt, details: list[Payload]) -> None:
        """The code gave a sign of life; of several that wait, the last one counts."""
        self._beats[attempt] = details
        if attempt not in self._beating:
            self._beating[attempt] = self._spawn(self._beat(attempt))

    async def _beat(self, attempt: Attempt) -> None:
        assert self.desk is not None
        try:
            while attempt in self._beats:
                details = self._beats.pop(attempt)
                try:
                    what = _of(attempt, "heartbeat")
                    details = await encode_payloads(details, self._codecs_of(attempt), what=what)
                except CodecError as error:
                    logger.warning(
                        "%r gives a sign of life without its details: %s", attempt, error
                    )
                    details = []
                self.desk.heartbeat(attempt, details)
        finally:
            del self._beating[attempt]

    async def _last_beat(self, attempt: Attempt) -> None:
        """Let the last sign of life go before the outcome."""
        beating = self._beating.get(attempt)
        if beating is not None:
            await asyncio.wait([beating])


def _of(attempt: Attempt, part: str) -> str:
    return f"the {part} of activity {attempt.task.activity_type}"


def _failure(error: CodecError) -> Failure:
    return application_failure(
        f"{error}. Give this worker's client the payload codec, key or storage that it needs",
        "CodecError",
    )
