"""RPC over the log: requests to partitions and their answers, matched by correlation id.

One writer and one reader a client and event loop, owned by that loop. The log's threads only wake
it; all state here is touched on the event loop's thread, so nothing is locked, and however much
came in, the loop is woken once for it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure.client._answer_checks import misfit
from perdure_schemas.avro import COMMAND_BYTES_MAX, UnreadableRecordError, decode, decode_as, encode
from perdure_schemas.command_headers import age_header
from perdure_schemas.commands import AwaitResult, DescribeTaskQueue, StartWorkflow
from perdure_schemas.message_commands import AwaitUpdate, QueryWorkflow, UpdateWorkflow
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import NEW_OWNER, Accepted, Notice, Reply
from perdure_schemas.version import VERSION
from perdure_topics.clock import SystemClock
from perdure_topics.ports import (
    DENIED,
    Headers,
    LogError,
    LogFullError,
    PositionLostError,
    RecordTooLargeError,
)

if TYPE_CHECKING:
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
FIRST_REPEAT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
PARTS_MAX: Final = 8
CORRELATION_BYTES: Final = 16
MISFIT_SAID_S: Final = 60.0
KEPT_S: Final = 3.0
"""So long a host is waited for, where it is enough that the log has a command."""
LAST_S: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked, and of which partition."""

    what: str
    """The request in a person's words, for messages."""
    task_queue: str
    topic: str
    partition: int
    key: bytes | None
    make: Callable[[ReplyTo], Record]
    timeout_s: float | None
    is_prompt: bool = True
    """An answer is due at once; False for an answer that comes when a run closes."""
    waits: bool = False
    """A start that is answered twice: when it is accepted, and when what it waits for is there."""
    again: Callable[[Accepted, ReplyTo], Record] | None = None
    """What is asked from then on, in place of the start; without it, for the run's end."""
    on_notice: Callable[[Notice], None] | None = None
    kept_s: float | None = None
    """How long a host is waited for where it is enough that the log has it; None: for ever."""
    headers: Headers = ()
    """What rides along in the record's headers: the caller's place in a trace."""


class PendingRequest:
    """A request without its answer yet."""

    __slots__ = (
        "accepted",
        "answer",
        "asked",
        "correlation_id",
        "deadline_s",
        "is_for_code",
        "is_heard",
        "made_ms",
        "notice",
        "offset",
        "parts",
        "planned_s",
        "repeat_s",
        "request",
        "sent_s",
        "value",
        "was_told",
    )

    def __init__(
        self,
        request: Request,
        correlation_id: str,
        value: bytes,
        loop: asyncio.AbstractEventLoop,
        made_ms: int,
    ) -> None:
        now = loop.time()
        timeout_s = request.timeout_s
        self.request = request
        self.correlation_id = correlation_id
        self.value = value
        self.asked: Record | None = None
        """The record that was sent last: what an answer is held against."""
        self.answer: asyncio.Future[Record] = loop.create_future()
        self.accepted: asyncio.Future[Record] = (
            loop.create_future() if request.waits else self.answer
        )
        self.sent_s = now
        self.made_ms = made_ms
        """When it was made, by the monotonic clock: by it each sending says how old it is."""
        self.deadline_s = float("inf") if timeout_s is None else now + timeout_s
        self.repeat_s = now + FIRST_REPEAT_S
        self.planned_s = float("inf")
        """When it is looked at next."""
        self.offset: int | None = None
        self.is_for_code = False
        self.is_heard = False
        self.parts: list[Reply] = []
        """Of an answer in several records: those that have come, in their order."""
        self.notice = ""
        """What its host said last of why it takes so long."""
        self.was_told = False

    def whole(self, reply: Reply) -> bytes | None:
        """The bytes of an answer, once all its parts have come, one behind the other.

        A part that does not follow belongs to another answer to the request, which is repeated.
        """
        if reply.parts <= 1:
            return reply.body
        last = self.parts[-1] if self.parts else None
        if reply.part == 1 or last is None:
            self.parts = []
        elif (last.partition, last.offset, last.part + 1) != (
            reply.partition,
            reply.offset,
            reply.part,
        ):
            self.parts = []
            return None
        if reply.part != len(self.parts) + 1 or reply.parts > PARTS_MAX:
            return None
        self.parts.append(reply)
        if reply.part < reply.parts:
            return None
        parts, self.parts = self.parts, []
        return b"".join(part.body for part in parts)

    def is_kept_by(self, now_s: float) -> bool:
        """Whether the log has it, that is enough, and no host has said a word in time."""
        at_s = self.kept_at_s
        return at_s is not None and self.offset is not None and now_s >= at_s

    @property
    def kept_at_s(self) -> float | None:
        """From when on it is enough that the log has it; None while a host is waited for."""
        kept_s = self.request.kept_s
        if kept_s is None or self.is_heard:
            return None
        return min(self.sent_s + kept_s, self.deadline_s - LAST_S)

    def fail(self, error: Exception) -> None:
        """End the request with an error, at the first future that still waits."""
        for future in (self.accepted, self.answer):
            if not future.done():
                future.set_exception(error)
                # A start that failed leaves nobody to read its second answer.
                future.exception()


class RpcClient:
    """Sends requests, repeats them, and gives each its answer. Use it from its event loop only."""

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
        self._numbers = itertools.count(1)
        self._pending: dict[str, PendingRequest] = {}
        self._backlog: deque[PendingRequest] = deque()
        self._due: list[tuple[float, int, PendingRequest]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_woken = False
        self._is_closed = False
        self._is_recovering = False
        self._recovery: asyncio.Task[None] | None = None
        self._last_error = ""
        self.misfits = 0
        """How many answers were none to what was asked."""
        self._misfit_said_s = float("-inf")
        self._told: dict[str, float] = {}
        self._checked: dict[tuple[str, int], float] = {}
        self._appender: Appender | None = None
        self._tail: Tail | None = None

    async def open(self) -> None:
        """Read the reply partition from its end on; a request may go out once this is done.

        Raises LogError when the log cannot say where the partition ends.
        """
        self._tail = await asyncio.to_thread(self._log.tail, on_ready=self._wake, committed=False)
        self._appender = await asyncio.to_thread(self._log.appender, on_ready=self._wake)
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
            for pending in list(self._pending.values()):
                pending.fail(gone)
        self._pending.clear()
        if self._appender is not None:
            self._appender.close(flush_s=1.0)
        if self._tail is not None:
            self._tail.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that owns this client."""
        return self._loop

    # Sending.

    def send(self, request: Request) -> PendingRequest:
        """Send a request on its way.

        Raises ValueError, before anything is written, when it is too large for its topic.
        """
        if len(self._pending) >= PENDING_MAX:
            raise RPCError(
                f"{request.what}: {PENDING_MAX} calls of this client wait for an answer already",
                RPCStatusCode.RESOURCE_EXHAUSTED,
            )
        # Whoever has seen one knows nothing of the next.
        correlation_id = secrets.token_hex(CORRELATION_BYTES)
        deadline_ms = 0
        if self.says_deadlines and request.timeout_s is not None and not request.waits:
            deadline_ms = self._clock.wall_ms() + int(request.timeout_s * 1000)
        reply = ReplyTo(
            partition=self._partition,
            correlation_id=correlation_id,
            deadline_ms=deadline_ms,
            wait="completed" if request.waits else "accepted",
        )
        made_ms = self._clock.monotonic_ms()
        record = request.make(reply)
        value = encode(record)
        if len(value) > COMMAND_BYTES_MAX:
            raise ValueError(
                f"{request.what}: the record has {len(value)} bytes; at most {COMMAND_BYTES_MAX}"
                " fit in a command. Pass a reference to large data instead of the data"
            )
        pending = PendingRequest(request, correlation_id, value, self._loop, made_ms)
        pending.is_for_code = _is_for_code(record)
        pending.asked = record
        self._pending[correlation_id] = pending
        self._append(pending)
        first_s = SILENCE_S if pending.deadline_s > pending.sent_s + SILENCE_S else 0.0
        self._plan(pending, pending.sent_s + first_s if first_s else pending.deadline_s)
        return pending

    def drop(self, pending: PendingRequest) -> None:
        """Forget a request that nobody waits for any more."""
        self._pending.pop(pending.correlation_id, None)
        if pending.is_for_code and not pending.answer.done():
            pending.answer.cancel()

    def _append(self, pending: PendingRequest) -> None:
        assert self._appender is not None
        request = pending.request
        mark = f"{self._partition}|{pending.correlation_id}|{VERSION}"
        try:
            self._appender.append(
                request.topic,
                request.partition,
                pending.value,
                key=request.key,
                headers=(
                    ("perdure-reply", mark.encode()),
                    self._age(pending),
                    *request.headers,
                ),
                tag=pending,
            )
        except RecordTooLargeError as error:
            self._finish(pending)
            what = f"{request.what}: {error}. Pass a reference to large data instead of the data"
            pending.fail(RPCError(what, RPCStatusCode.RESOURCE_EXHAUSTED))
        except LogFullError:
            self._backlog.append(pending)

    def _age(self, pending: PendingRequest) -> tuple[str, bytes]:
        """How old a request is, and how long it is waited for: right though clocks are not."""
        age_ms = self._clock.monotonic_ms() - pending.made_ms
        timeout_s = None if pending.request.waits else pending.request.timeout_s
        left_ms = -1 if timeout_s is None else max(int(timeout_s * 1000) - age_ms, 0)
        return age_header(age_ms, left_ms)

    # Answers.

    def _wake(self) -> None:
        """Wake the event loop, from the log's threads."""
        if self._is_woken or self._is_closed:
            return
        self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._turn)
        except RuntimeError:
            # The loop ended before its client: nobody is left to be told.
            self._is_closed = True

    def _turn(self) -> None:
        """Take all that has come in."""
        self._is_woken = False
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
            self._wake()

    def _have_read(self, to: int) -> None:
        self._read_to = max(self._read_to, to)

    def _take_reports(self, appender: Appender) -> None:
        failed = False
        for report in appender.reports():
            pending = report.tag
            if report.error is not None and report.error.startswith(DENIED):
                failed = True
                if isinstance(pending, PendingRequest):
                    self._finish(pending)
                    what = f"{pending.request.what}: {report.error.removeprefix(DENIED)}"
                    pending.fail(RPCError(what, RPCStatusCode.PERMISSION_DENIED))
            elif report.error is not None or report.offset is None:
                failed = True
                self._last_error = report.error or "its fate is unknown"
            elif isinstance(pending, PendingRequest):
                if pending.offset is None and pending.is_for_code and not pending.answer.done():
                    self._await_code(pending)
                pending.offset = report.offset
                if pending.is_kept_by(self._loop.time()):
                    self._answer(pending, Accepted())
        if failed:
            appender.close()
            self._appender = self._log.appender(on_ready=self._wake)
            self._loop.call_later(REOPEN_S, self._send_again)
        elif self._backlog:
            waiting, self._backlog = self._backlog, deque()
            for pending in waiting:
                self._append(pending)

    def _await_code(self, pending: PendingRequest) -> None:
        """The log has what is asked of a workflow's code; until its answer, somebody waits."""
        around = ExitStack()
        around.enter_context(self.awaiting())
        pending.answer.add_done_callback(lambda _: around.close())

    def _send_again(self) -> None:
        """Send what the failed writer may not have delivered; hosts know a repeat by its id."""
        if self._is_closed:
            return
        for pending in list(self._pending.values()):
            if pending.offset is None:
                self._append(pending)

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
        for pending in list(self._pending.values()):
            self._append(pending)
        # What it was woken for in between was not taken.
        self._turn()

    def _take_reply(self, value: bytes) -> None:
        try:
            reply = decode_as(Reply, value)
        except UnreadableRecordError as error:
            logger.debug("an unreadable record among the replies: %s", error)
            return
        if not reply.correlation_id:
            self._take_broadcast(reply)
            return
        pending = self._pending.get(reply.correlation_id)
        if pending is None:
            return
        if reply.partition != pending.request.partition:
            self._leave_aside(pending, f"partition {reply.partition} was not asked")
            return
        pending.is_heard = True
        data = pending.whole(reply)
        if data is None:
            return
        try:
            body = decode(data, bytes_max=ANSWER_BYTES_MAX)
        except UnreadableRecordError as error:
            self._finish(pending)
            pending.fail(
                RPCError(
                    f"{pending.request.what}: the answer cannot be read, {error}."
                    f" This client is release {VERSION}; upgrade it to the release of its workers",
                    RPCStatusCode.FAILED_PRECONDITION,
                )
            )
            return
        request = pending.request
        assert pending.asked is not None
        if why := misfit(pending.asked, request.partition, body, was_start=request.waits):
            self._leave_aside(pending, why)
        elif isinstance(body, Notice):
            pending.notice = body.message
            self.tell(pending, body)
        elif isinstance(body, Accepted) and pending.request.waits:
            self._accept(pending, body)
        else:
            self._answer(pending, body)

    def _leave_aside(self, pending: PendingRequest, why: str) -> None:
        """Somebody wrote an answer that is none: the request goes on waiting for its own."""
        self.misfits += 1
        now = self._loop.time()
        if now - self._misfit_said_s >= MISFIT_SAID_S:
            self._misfit_said_s = now
            logger.warning(
                "%s: an answer on %s was left aside, %s. Who may write there, or send commands"
                " with a foreign reply address? So far: %d",
                pending.request.what,
                self._topic,
                why,
                self.misfits,
            )

    def _take_broadcast(self, reply: Reply) -> None:
        """What is said to every client: a partition has a new owner, who is to be asked again."""
        try:
            body = decode(reply.body)
        except UnreadableRecordError as error:
            logger.debug("an unreadable record for all clients: %s", error)
            return
        if not isinstance(body, Notice) or body.code != NEW_OWNER:
            return
        place = (body.message, reply.partition)
        waiting = [
            pending
            for pending in self._pending.values()
            if (pending.request.topic, pending.request.partition) == place
        ]
        now, within_s = self._loop.time(), max(NEW_OWNER_S, len(waiting) / AGAIN_PER_S)
        for pending in waiting:
            # All clients hear it at once, and must not ask at once.
            at_s = now + random.uniform(0, within_s)  # noqa: S311
            pending.repeat_s = min(pending.repeat_s, at_s)
            self._plan(pending, min(pending.repeat_s, pending.planned_s))

    def _answer(self, pending: PendingRequest, body: Record) -> None:
        self._finish(pending)
        # A start may be refused, or find its run closed, before it was heard to be accepted.
        for future in {pending.accepted, pending.answer}:
            if not future.done():
                future.set_result(body)

    def _accept(self, pending: PendingRequest, body: Accepted) -> None:
        """A start was taken: from now on only its result is waited for, by a smaller request."""
        if not pending.accepted.done():
            pending.accepted.set_result(body)
        pending.deadline_s = float("inf")
        reply = ReplyTo(partition=self._partition, correlation_id=pending.correlation_id)
        again = pending.request.again
        if again is None:
            run_id = body.run_id
            pending.asked = AwaitResult(workflow_id=body.workflow_id, run_id=run_id, reply=reply)
        else:
            pending.asked = again(body, reply)
        pending.value = encode(pending.asked)
        pending.repeat_s = self._loop.time() + REPEAT_S

    def _finish(self, pending: PendingRequest) -> None:
        self._pending.pop(pending.correlation_id, None)

    def tell(self, pending: PendingRequest, notice: Notice) -> None:
        """Show a notice to the waiting user: once a text, and again after a minute of it."""
        now = self._loop.time()
        if pending.request.on_notice is not None:
            pending.request.on_notice(notice)
        if now - self._told.get(notice.message, float("-inf")) < 60.0:
            return
        if len(self._told) >= 1000:
            self._told.clear()
        self._told[notice.message] = now
        logger.warning("%s", notice.message, extra={"perdure_notice": notice.code})

    # Time.

    def _plan(self, pending: PendingRequest, at_s: float) -> None:
        pending.planned_s = at_s
        heapq.heappush(self._due, (at_s, next(self._numbers), pending))
        self._wake_at(at_s)

    def _wake_at(self, at_s: float) -> None:
        if self._timer is None or at_s < self._timer_at - TICK_S:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at_s
            self._timer = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        """Look at the requests whose time has come."""
        self._timer = None
        now = self._loop.time()
        due = []
        while self._due and self._due[0][0] <= now + TICK_S:
            due.append(heapq.heappop(self._due))
        # What is planned anew has its turn at a later tick, however soon that is: the loop goes on.
        for at_s, _, pending in due:
            # One that was planned anew meanwhile has another place in line.
            if self._pending.get(pending.correlation_id) is pending and pending.planned_s == at_s:
                self._attend(pending, now)
        if self._due:
            self._wake_at(self._due[0][0])

    def _attend(self, pending: PendingRequest, now: float) -> None:
        if pending.answer.cancelled():
            self._finish(pending)
            return
        if pending.is_kept_by(now + TICK_S):
            self._answer(pending, Accepted())
            return
        if now >= pending.deadline_s - TICK_S:
            self._finish(pending)
            pending.fail(
                too_late(pending, now - pending.sent_s, self._log.address, self._last_error)
            )
            return
        if not pending.is_heard and not pending.was_told and pending.offset is not None:
            pending.was_told = True
            if pending.request.is_prompt:
                self.tell(pending, Notice(code="no_host", message=self._silence(pending)))
            else:
                self._check(pending)
        if now >= pending.repeat_s - TICK_S:
            pending.repeat_s = now + REPEAT_S
            pending.was_told = False
            try:
                self._append(pending)
            except LogError as error:
                # It is tried again at the next repeat; the requests behind it are attended to now.
                self._last_error = str(error)
        at_s = min(pending.repeat_s, pending.deadline_s)
        kept_at_s = pending.kept_at_s
        if kept_at_s is not None and kept_at_s > now:
            at_s = min(at_s, kept_at_s)
        self._plan(pending, at_s)

    def _check(self, pending: PendingRequest) -> None:
        """Ask whether anybody serves a partition that owes only a late answer."""
        request = pending.request
        place = (request.topic, request.partition)
        now = self._loop.time()
        if now - self._checked.get(place, float("-inf")) < REPEAT_S / 2:
            return
        self._checked[place] = now
        probe = Request(
            what=request.what,
            task_queue=request.task_queue,
            topic=request.topic,
            partition=request.partition,
            key=None,
            make=lambda reply: DescribeTaskQueue(partition=request.partition, reply=reply),
            timeout_s=3 * SILENCE_S,
        )
        self.send(probe)

    def _silence(self, pending: PendingRequest) -> str:
        queue = pending.request.task_queue
        return (
            f"no worker answers on task queue {queue!r} at {self._log.address};"
            f" is one running? perdure worker MODULE --task-queue {queue}"
        )


def _is_for_code(command: Record) -> bool:
    """Whether the answer is what a workflow's code says, however long that takes by its timers."""
    if isinstance(command, StartWorkflow):
        return command.update is not None
    return isinstance(command, AwaitResult | AwaitUpdate | QueryWorkflow | UpdateWorkflow)


def too_late(pending: PendingRequest, waited_s: float, address: str, last_error: str) -> RPCError:
    """The error of a request whose time is over: how far it came, and why no further."""
    request = pending.request
    waited = f"{waited_s:.1f} s"
    if pending.offset is None:
        why = f" ({last_error})" if last_error else ""
        return RPCError(
            f"{request.what}: {address} did not take the command within {waited}{why}",
            RPCStatusCode.UNAVAILABLE,
        )
    if pending.notice:
        return RPCError(
            f"{request.what}: not done within {waited}: {pending.notice}",
            RPCStatusCode.DEADLINE_EXCEEDED,
        )
    return RPCError(
        f"{request.what}: no worker of task queue {request.task_queue!r} on {address} answered"
        f" within {waited}; the command is in {request.topic}, partition {request.partition},"
        f" offset {pending.offset}, and a worker that comes will take it",
        RPCStatusCode.DEADLINE_EXCEEDED,
    )
