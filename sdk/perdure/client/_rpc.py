"""Asks and their answers: one writer and one reader a client and event loop, owned by that loop.

The log's threads only ring; all state here is touched on the event loop's thread, so nothing is
locked, and however much came in, the loop is woken once for it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import uuid
from collections import deque
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._requests import ANSWER_BYTES_MAX, Ask, Question, too_late
from perdure_schemas.age_header import age_header
from perdure_schemas.avro import COMMAND_BYTES_MAX, UnreadableRecordError, decode, decode_as, encode
from perdure_schemas.commands import AwaitResult, DescribeTaskQueue, StartWorkflow
from perdure_schemas.message_commands import AwaitUpdate, QueryWorkflow, UpdateWorkflow
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import NEW_OWNER, Accepted, Notice, Reply
from perdure_schemas.version import VERSION
from perdure_topics.clock import SystemClock
from perdure_topics.ports import (
    DENIED,
    LogError,
    LogFullError,
    PositionLostError,
    RecordTooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from perdure_topics.ports import Appender, Clock, Log, Tail

logger = logging.getLogger("perdure.client")

REPEAT_S: Final = 20.0
SILENCE_S: Final = 1.0
REOPEN_S: Final = 0.5
TAKE_MAX: Final = 1000
PENDING_MAX: Final = 100_000
TICK_S: Final = 0.02
NEW_OWNER_S: Final = 1.0
"""Within so long of a partition's new owner all that wait for it have asked again."""
AGAIN_PER_S: Final = 5_000


class Asker:
    """Sends asks, repeats them, and gives each its answer. Use it from its event loop only."""

    def __init__(
        self, log: Log, topic: str, partitions: int, *, clock: Clock | None = None
    ) -> None:
        self._log = log
        # Hosts hold deadlines against the same clock.
        self._clock = clock or SystemClock()
        self._read_to = 0
        self.says_deadlines = True
        """Whether hosts are told when nobody waits any more."""
        self.awaiting: Callable[[], AbstractContextManager[None]] = nullcontext
        """Around the wait for what a workflow does, once the log has what it is to do."""
        self._topic = topic
        self._partition = random.randrange(partitions)  # noqa: S311 - spreads load, no secret
        self._loop = asyncio.get_running_loop()
        self._prefix = uuid.uuid4().hex
        self._numbers = itertools.count(1)
        self._pending: dict[str, Ask] = {}
        self._backlog: deque[Ask] = deque()
        self._due: list[tuple[float, int, Ask]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_rung = False
        self._is_closed = False
        self._is_recovering = False
        self._recovery: asyncio.Task[None] | None = None
        self._last_error = ""
        self._told: dict[str, float] = {}
        self._checked: dict[tuple[str, int], float] = {}
        self._appender: Appender | None = None
        self._tail: Tail | None = None

    async def open(self) -> None:
        """Read the reply partition from its end on; an ask may go out once this is done.

        Raises LogError when the log cannot say where the partition ends.
        """
        self._tail = await asyncio.to_thread(self._log.tail, on_ready=self._ring, committed=False)
        self._appender = await asyncio.to_thread(self._log.appender, on_ready=self._ring)
        await self._seek_end()

    async def _seek_end(self) -> None:
        assert self._tail is not None
        probe = self._tail.probe_end(self._topic, self._partition)
        delay_s = 0.001
        while (end := probe.end()) is None:
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 1.5, 0.05)
        self._tail.assign(self._topic, self._partition, end)
        self._read_to = end

    def is_behind(self) -> bool:
        """Whether there are answers that have not reached who waits for them. From any thread."""
        if self._is_closed or self._loop.is_closed():
            return False
        return self._log.offsets(self._topic, self._partition)[1] > self._read_to

    def close(self) -> None:
        """Fail what is under way and let go of the log. Works on a loop that is closed as well."""
        self._is_closed = True
        if not self._loop.is_closed():
            if self._timer is not None:
                self._timer.cancel()
            gone = RPCError("the client is closed", RPCStatusCode.CANCELLED)
            for ask in list(self._pending.values()):
                ask.fail(gone)
        self._pending.clear()
        if self._appender is not None:
            self._appender.close(flush_s=1.0)
        if self._tail is not None:
            self._tail.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that owns this asker."""
        return self._loop

    # Asking.

    def send(self, question: Question) -> Ask:
        """Send a question on its way.

        Raises ValueError, before anything is written, when it is too large for its topic.
        """
        if len(self._pending) >= PENDING_MAX:
            raise RPCError(
                f"{question.what}: {PENDING_MAX} calls of this client wait for an answer already",
                RPCStatusCode.RESOURCE_EXHAUSTED,
            )
        correlation_id = f"{self._prefix}-{next(self._numbers):x}"
        deadline_ms = 0
        if self.says_deadlines and question.timeout_s is not None and not question.waits:
            deadline_ms = self._clock.wall_ms() + int(question.timeout_s * 1000)
        reply = ReplyTo(
            partition=self._partition,
            correlation_id=correlation_id,
            deadline_ms=deadline_ms,
            wait="completed" if question.waits else "accepted",
        )
        made_ms = self._clock.monotonic_ms()
        record = question.make(reply)
        value = encode(record)
        if len(value) > COMMAND_BYTES_MAX:
            raise ValueError(
                f"{question.what}: the record has {len(value)} bytes; at most {COMMAND_BYTES_MAX}"
                " fit in a command. Pass a reference to large data instead of the data"
            )
        ask = Ask(question, correlation_id, value, self._loop, made_ms)
        ask.is_for_code = _is_for_code(record)
        self._pending[correlation_id] = ask
        self._append(ask)
        first_s = SILENCE_S if ask.deadline_s > ask.sent_s + SILENCE_S else 0.0
        self._plan(ask, ask.sent_s + first_s if first_s else ask.deadline_s)
        return ask

    def drop(self, ask: Ask) -> None:
        """Forget an ask that nobody waits for any more."""
        self._pending.pop(ask.correlation_id, None)
        if ask.is_for_code and not ask.answer.done():
            ask.answer.cancel()

    def _append(self, ask: Ask) -> None:
        assert self._appender is not None
        question = ask.question
        mark = f"{self._partition}|{ask.correlation_id}|{VERSION}"
        try:
            self._appender.append(
                question.topic,
                question.partition,
                ask.value,
                key=question.key,
                headers=(
                    ("perdure-reply", mark.encode()),
                    self._age(ask),
                    *question.headers,
                ),
                tag=ask,
            )
        except RecordTooLargeError as error:
            self._finish(ask)
            what = f"{question.what}: {error}. Pass a reference to large data instead of the data"
            ask.fail(RPCError(what, RPCStatusCode.RESOURCE_EXHAUSTED))
        except LogFullError:
            self._backlog.append(ask)

    def _age(self, ask: Ask) -> tuple[str, bytes]:
        """How old an ask is, and how long it is waited for: right though clocks are not."""
        age_ms = self._clock.monotonic_ms() - ask.made_ms
        timeout_s = None if ask.question.waits else ask.question.timeout_s
        left_ms = -1 if timeout_s is None else max(int(timeout_s * 1000) - age_ms, 0)
        return age_header(age_ms, left_ms)

    # Coming in.

    def _ring(self) -> None:
        """The bell of the log's threads."""
        if self._is_rung or self._is_closed:
            return
        self._is_rung = True
        try:
            self._loop.call_soon_threadsafe(self._turn)
        except RuntimeError:
            # The loop ended before its client: nobody is left to be told.
            self._is_closed = True

    def _turn(self) -> None:
        """Take all that has come in."""
        self._is_rung = False
        if self._is_closed:
            return
        assert self._appender is not None
        assert self._tail is not None
        self._take_reports(self._appender)
        try:
            records = self._tail.take(self._topic, self._partition, TAKE_MAX)
        except PositionLostError:
            if not self._is_recovering:
                self._is_recovering = True
                self._recovery = self._loop.create_task(self._recover_position())
            return
        for record in records:
            if record.value is not None:
                try:
                    self._take_reply(record.value)
                except Exception:
                    # Anybody may write a reply, and a callback of the user's may be told of it.
                    logger.exception("a reply at offset %d could not be taken", record.offset)
        if records:
            # Whoever was answered goes on first.
            self._loop.call_soon(self._have_read, records[-1].offset + 1)
        if len(records) >= TAKE_MAX:
            self._ring()

    def _have_read(self, to: int) -> None:
        self._read_to = max(self._read_to, to)

    def _take_reports(self, appender: Appender) -> None:
        failed = False
        for report in appender.reports():
            ask = report.tag
            if report.error is not None and report.error.startswith(DENIED):
                failed = True
                if isinstance(ask, Ask):
                    self._finish(ask)
                    what = f"{ask.question.what}: {report.error.removeprefix(DENIED)}"
                    ask.fail(RPCError(what, RPCStatusCode.PERMISSION_DENIED))
            elif report.error is not None or report.offset is None:
                failed = True
                self._last_error = report.error or "its fate is unknown"
            elif isinstance(ask, Ask):
                if ask.offset is None and ask.is_for_code and not ask.answer.done():
                    self._await_code(ask)
                ask.offset = report.offset
                if ask.is_kept_by(self._loop.time()):
                    self._answer(ask, Accepted())
        if failed:
            appender.close()
            self._appender = self._log.appender(on_ready=self._ring)
            self._loop.call_later(REOPEN_S, self._send_again)
        elif self._backlog:
            waiting, self._backlog = self._backlog, deque()
            for ask in waiting:
                self._append(ask)

    def _await_code(self, ask: Ask) -> None:
        """The log has what is asked of a workflow's code; until its answer, somebody waits."""
        around = ExitStack()
        around.enter_context(self.awaiting())
        ask.answer.add_done_callback(lambda _: around.close())

    def _send_again(self) -> None:
        """Send what the failed writer may not have delivered; hosts know a repeat by its id."""
        if self._is_closed:
            return
        for ask in list(self._pending.values()):
            if ask.offset is None:
                self._append(ask)

    async def _recover_position(self) -> None:
        """Go on from the end after answers were lost with their log: ask everything again."""
        logger.info("answers on %s were lost before they were read; asking again", self._topic)
        while not self._is_closed:
            try:
                await self._seek_end()
                break
            except LogError as error:
                self._last_error = str(error)
                await asyncio.sleep(REOPEN_S)
        self._is_recovering = False
        for ask in list(self._pending.values()):
            self._append(ask)
        # What was rung for in between was not taken.
        self._turn()

    def _take_reply(self, value: bytes) -> None:
        try:
            reply = decode_as(Reply, value)
        except UnreadableRecordError as error:
            logger.debug("an unreadable record among the replies: %s", error)
            return
        if not reply.correlation_id:
            self._hear_all(reply)
            return
        ask = self._pending.get(reply.correlation_id)
        if ask is None:
            return
        ask.is_heard = True
        data = ask.whole(reply)
        if data is None:
            return
        try:
            body = decode(data, bytes_max=ANSWER_BYTES_MAX)
        except UnreadableRecordError as error:
            self._finish(ask)
            ask.fail(
                RPCError(
                    f"{ask.question.what}: the answer cannot be read, {error}."
                    f" This client is release {VERSION}; upgrade it to the release of its workers",
                    RPCStatusCode.FAILED_PRECONDITION,
                )
            )
            return
        if isinstance(body, Notice):
            ask.notice = body.message
            self.tell(ask, body)
        elif isinstance(body, Accepted) and ask.question.waits:
            self._accept(ask, body)
        else:
            self._answer(ask, body)

    def _hear_all(self, reply: Reply) -> None:
        """What is said to every asker: a partition has a new owner, who is to be asked again."""
        try:
            body = decode(reply.body)
        except UnreadableRecordError as error:
            logger.debug("an unreadable record for all askers: %s", error)
            return
        if not isinstance(body, Notice) or body.code != NEW_OWNER:
            return
        place = (body.message, reply.partition)
        waiting = [
            ask
            for ask in self._pending.values()
            if (ask.question.topic, ask.question.partition) == place
        ]
        now, within_s = self._loop.time(), max(NEW_OWNER_S, len(waiting) / AGAIN_PER_S)
        for ask in waiting:
            # All clients hear it at once, and must not ask at once.
            ask.repeat_s = min(ask.repeat_s, now + random.uniform(0, within_s))  # noqa: S311
            self._plan(ask, min(ask.repeat_s, ask.planned_s))

    def _answer(self, ask: Ask, body: Record) -> None:
        self._finish(ask)
        # A start may be refused, or find its run closed, before it was heard to be accepted.
        for future in {ask.accepted, ask.answer}:
            if not future.done():
                future.set_result(body)

    def _accept(self, ask: Ask, body: Accepted) -> None:
        """A start was taken: from now on only its result is waited for, by a smaller ask."""
        if not ask.accepted.done():
            ask.accepted.set_result(body)
        ask.deadline_s = float("inf")
        reply = ReplyTo(partition=self._partition, correlation_id=ask.correlation_id)
        again = ask.question.again
        if again is None:
            run_id = body.run_id
            wait = AwaitResult(workflow_id=body.workflow_id, run_id=run_id, reply=reply)
            ask.value = encode(wait)
        else:
            ask.value = encode(again(body, reply))
        ask.repeat_s = self._loop.time() + REPEAT_S

    def _finish(self, ask: Ask) -> None:
        self._pending.pop(ask.correlation_id, None)

    def tell(self, ask: Ask, notice: Notice) -> None:
        """Show a notice to the waiting user: once a text, and again after a minute of it."""
        now = self._loop.time()
        if ask.question.on_notice is not None:
            ask.question.on_notice(notice)
        if now - self._told.get(notice.message, float("-inf")) < 60.0:
            return
        if len(self._told) >= 1000:
            self._told.clear()
        self._told[notice.message] = now
        logger.warning("%s", notice.message, extra={"perdure_notice": notice.code})

    # Time.

    def _plan(self, ask: Ask, at_s: float) -> None:
        ask.planned_s = at_s
        heapq.heappush(self._due, (at_s, next(self._numbers), ask))
        self._wake_at(at_s)

    def _wake_at(self, at_s: float) -> None:
        if self._timer is None or at_s < self._timer_at - TICK_S:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at_s
            self._timer = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        """Look at the asks whose time has come."""
        self._timer = None
        now = self._loop.time()
        while self._due and self._due[0][0] <= now + TICK_S:
            at_s, _, ask = heapq.heappop(self._due)
            # One that was planned anew meanwhile has another place in line.
            if self._pending.get(ask.correlation_id) is ask and ask.planned_s == at_s:
                self._attend(ask, now)
        if self._due:
            self._wake_at(self._due[0][0])

    def _attend(self, ask: Ask, now: float) -> None:
        if ask.answer.cancelled():
            self._finish(ask)
            return
        if ask.is_kept_by(now + TICK_S):
            self._answer(ask, Accepted())
            return
        if now >= ask.deadline_s - TICK_S:
            self._finish(ask)
            ask.fail(too_late(ask, now - ask.sent_s, self._log.address, self._last_error))
            return
        if not ask.is_heard and not ask.was_told and ask.offset is not None:
            ask.was_told = True
            if ask.question.is_prompt:
                self.tell(ask, Notice(code="no_host", message=self._silence(ask)))
            else:
                self._check(ask)
        if now >= ask.repeat_s - TICK_S:
            ask.repeat_s = now + REPEAT_S
            ask.was_told = False
            try:
                self._append(ask)
            except LogError as error:
                # It is tried again at the next repeat; the asks behind it are attended to now.
                self._last_error = str(error)
        at_s = min(ask.repeat_s, ask.deadline_s)
        kept_at_s = ask.kept_at_s
        if kept_at_s is not None and kept_at_s > now:
            at_s = min(at_s, kept_at_s)
        self._plan(ask, at_s)

    def _check(self, ask: Ask) -> None:
        """Ask whether anybody serves a partition that owes only a late answer."""
        question = ask.question
        place = (question.topic, question.partition)
        now = self._loop.time()
        if now - self._checked.get(place, float("-inf")) < REPEAT_S / 2:
            return
        self._checked[place] = now
        probe = Question(
            what=question.what,
            task_queue=question.task_queue,
            topic=question.topic,
            partition=question.partition,
            key=None,
            make=lambda reply: DescribeTaskQueue(partition=question.partition, reply=reply),
            timeout_s=3 * SILENCE_S,
        )
        self.send(probe)

    def _silence(self, ask: Ask) -> str:
        queue = ask.question.task_queue
        return (
            f"no worker answers on task queue {queue!r} at {self._log.address};"
            f" is one running? perdure worker MODULE --task-queue {queue}"
        )


def _is_for_code(command: Record) -> bool:
    """Whether the answer is what a workflow's code says, however long that takes by its timers."""
    if isinstance(command, StartWorkflow):
        return command.update is not None
    return isinstance(command, AwaitResult | AwaitUpdate | QueryWorkflow | UpdateWorkflow)
