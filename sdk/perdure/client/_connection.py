"""A client's connection to the log: the topics of task queues, and requests to partitions."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import os
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from perdure._connect_config import PayloadLimitsConfig
from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure._telemetry.trace_context import trace_headers
from perdure._test_overrides import Overrides
from perdure.client._exceptions import expect
from perdure.client._rpc import KEPT_S, PendingRequest, Request, RpcClient
from perdure.client._task_queues import OfflineReads, QueueNames, first_found, only_one
from perdure_actors.definitions.payload_codecs import PayloadCodecs, decode_records, encode_payloads
from perdure_actors.replay.contexts import from_elsewhere
from perdure_schemas.commands import DescribeTaskQueue, DescribeWorkflow
from perdure_schemas.contexts import SerializationContext, WorkflowSerializationContext
from perdure_schemas.operator_commands import SkipInput
from perdure_schemas.payload_places import payloads_in, with_payloads
from perdure_schemas.payloads import Payload, Record, ReplyTo
from perdure_schemas.replies import (
    Accepted,
    HistoryPage,
    Notice,
    Refused,
    RunDescription,
    RunPage,
    TaskQueueInfo,
)
from perdure_topics.engine_keys import NO_KEYS, signed_by_ids
from perdure_topics.names import check_workflow_id, partition_of, quote, topic_name
from perdure_topics.ports import LogDeniedError, LogError, LogUnavailableError
from perdure_topics.task_queue_topics import create_topics

if TYPE_CHECKING:
    from perdure_topics.ports import Log, TopicInfo

logger = logging.getLogger("perdure.client")

RPC_TIMEOUT_S: Final = 30.0
EMBEDDED: Final = ("file:", "http:", "https:")
"""What the addresses of embedded logs begin with."""
# What lists and descriptions hold is decoded when it is asked for, so that a missing key hides
# no run; a history is read as it was written.
LEFT_ENCODED: Final = (HistoryPage, RunDescription, RunPage)


class Connection:
    """What all calls of a client share. Each event loop has an RPC client of its own."""

    def __init__(
        self, log: Log, *, namespace: str, identity: str, close_log: Callable[[], None]
    ) -> None:
        quote(namespace, "namespace")
        self._log = log
        self._process = os.getpid()
        self.namespace = namespace
        self.identity = identity
        self.on_notice: Callable[[Notice], None] | None = None
        self.codecs: PayloadCodecs | None = None
        """What the payloads of commands and answers go through."""
        self.limits = PayloadLimitsConfig()
        """From which sizes on a warning is logged."""
        self.engine_keys = NO_KEYS
        """Sign reports of activities by ids, and are the keys of hosts on this connection."""
        self.overrides = Overrides()
        """What workers of this client have instead of the machine's own, in tests."""
        self._origin: Connection | None = None
        self._rpc_clients: list[RpcClient] = []
        self._opening: dict[int, asyncio.Task[RpcClient]] = {}
        self._partitions: dict[str, int] = {}
        self._queue_names = QueueNames(log, namespace)
        self._offline = OfflineReads(log, namespace)
        self._finalizer = weakref.finalize(
            self, _close_all, self._process, self._rpc_clients, close_log
        )

    @property
    def log(self) -> Log:
        """The log. Raises RPCError as check_process does."""
        self.check_process()
        return self._log

    def check_process(self) -> None:
        """Raise RPCError in a process that was forked from the one that opened the log."""
        here = os.getpid()
        if here != self._process:
            raise RPCError(
                f"this client was connected in process {self._process}, and this is process {here},"
                " forked from it: its threads and connections did not come along. Connect after the"
                " fork, in each process: in gunicorn's post_fork, Celery's worker_process_init, or"
                " the function that multiprocessing runs",
                RPCStatusCode.FAILED_PRECONDITION,
            )

    def through(self, codecs: PayloadCodecs | None, identity: str = "") -> Connection:
        """The same connection for a client with payload codecs, or of another identity."""
        if codecs is self.codecs and not identity:
            return self
        view = copy.copy(self)
        view.codecs, view.identity = codecs, identity or self.identity
        # RPC clients and log are let go of when the one that opened them is forgotten.
        view._origin = self
        return view

    def in_namespace(self, namespace: str) -> Connection:
        """A connection to the same log in another namespace; closing it closes both."""
        other = Connection(
            self.log, namespace=namespace, identity=self.identity, close_log=_nothing
        )
        other.limits, other.overrides = self.limits, self.overrides
        other.on_notice, other._origin = self.on_notice, self
        other.engine_keys = self.engine_keys
        return other

    async def rpc(self) -> RpcClient:
        """The RPC client of the running loop, opened at its first call."""
        self.check_process()
        loop = asyncio.get_running_loop()
        for rpc in self._rpc_clients:
            if rpc.loop is loop:
                return rpc
        opening = self._opening.get(id(loop))
        if opening is None or opening.get_loop() is not loop:
            opening = loop.create_task(self._open_rpc())
            self._opening[id(loop)] = opening
        try:
            return await asyncio.shield(opening)
        finally:
            if opening.done():
                self._opening.pop(id(loop), None)

    async def prepare(self) -> None:
        """Look for the log, and be ready for the first request where its topics are there.

        Raises RPCError when the log cannot be reached.
        """
        topic = topic_name("replies", self.namespace)
        try:
            info = await asyncio.to_thread(self.log.topic, topic)
        except LogError as error:
            raise unavailable("connecting", error) from error
        if info is not None:
            await self.rpc()

    async def _open_rpc(self) -> RpcClient:
        for stale in [rpc for rpc in self._rpc_clients if rpc.loop.is_closed()]:
            self._rpc_clients.remove(stale)
            await asyncio.to_thread(stale.close)
        topic = topic_name("replies", self.namespace)
        try:
            info = await asyncio.to_thread(self.log.topic, topic)
            if info is None:
                raise self._no_topics("no task queue has been made here", topic, "QUEUE")
            rpc = RpcClient(self.log, topic, info.partitions, clock=self.overrides.clock)
            rpc.awaiting = self.overrides.awaiting
            # Time that leaps would take a host past the deadline of whoever waits for that.
            rpc.says_deadlines = self.overrides.pace is None
            await rpc.open()
            if self.overrides.watch is not None:
                self.overrides.watch(rpc.is_behind)
        except LogError as error:
            raise unavailable("connecting", error) from error
        self._rpc_clients.append(rpc)
        return rpc

    async def close(self) -> None:
        """Let go of the log; calls under way fail."""
        if os.getpid() != self._process:
            return  # It is its parent's to close.
        here = asyncio.get_running_loop()
        for rpc in [rpc for rpc in self._rpc_clients if rpc.loop is here]:
            self._rpc_clients.remove(rpc)
            rpc.close()
        await asyncio.to_thread(self._finalizer)
        if self._origin is not None:
            await self._origin.close()

    # Topics.

    async def partitions(self, task_queue: str, *, is_start: bool = False) -> int:
        """How many partitions a task queue has; on an embedded log a start makes them.

        Raises RPCError when it has none: its topics were never made.
        """
        known = self._partitions.get(task_queue)
        if known is not None:
            return known
        topic = topic_name("commands", self.namespace, task_queue)
        try:
            info = await asyncio.to_thread(self.log.topic, topic)
        except LogError as error:
            raise unavailable(f"looking for task queue {task_queue!r}", error) from error
        if info is None and is_start and self.log.address.startswith(EMBEDDED):
            info = await self._made(task_queue, topic)
        if info is None:
            raise self._no_topics(f"task queue {task_queue!r}", topic, task_queue)
        self._partitions[task_queue] = info.partitions
        return info.partitions

    async def _made(self, task_queue: str, topic: str) -> TopicInfo | None:
        """Make the topics of a task queue that nobody has used, where the log lets a client."""
        many = self.overrides.partitions
        make = partial(create_topics, self.log, self.namespace, task_queue)
        with contextlib.suppress(LogError):
            await asyncio.to_thread(make, partitions=many)
            return await asyncio.to_thread(self.log.topic, topic)
        return None

    async def task_queues(self, *, lately: bool = False) -> list[str]:
        """The task queues that have topics in the namespace, now or at most a second ago."""
        names = self._queue_names
        try:
            return await (names.lately(self._partitions) if lately else names.now())
        except LogError as error:
            raise unavailable("looking for task queues", error) from error

    def _no_topics(self, what: str, topic: str, task_queue: str) -> RPCError:
        address = self.log.address
        option = "engine" if address.startswith("http") else "broker"
        other = "" if self.namespace == "default" else f" --namespace {self.namespace}"
        remedy = (
            "a worker on it makes them"
            if address.startswith("file:")
            else f"make them with: perdure topics create --{option} {address}{other}"
            f" --task-queue {task_queue}"
        )
        return RPCError(
            f"{what}: there is no topic {topic} on {address}; {remedy}", RPCStatusCode.NOT_FOUND
        )

    # Requests.

    @contextlib.asynccontextmanager
    async def within(self, what: str, timeout_s: float | None) -> AsyncIterator[None]:
        """Look for topics no longer than the call may take: the log itself may try for longer."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            raise RPCError(
                f"{what}: {self.log.address} did not say within {timeout_s:g} s which topics it"
                " has: is it running, and is the address right?",
                RPCStatusCode.UNAVAILABLE,
            ) from None

    async def send_to_workflow(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        *,
        workflow_id: str,
        task_queue: str,
        timeout_s: float | None,
        is_prompt: bool = True,
        waits: bool = False,
        again: Callable[[Accepted, ReplyTo], Record] | None = None,
        is_kept: bool = False,
        is_start: bool = False,
    ) -> tuple[RpcClient, PendingRequest]:
        """Send a request to the partition that a workflow id belongs to."""
        check_workflow_id(workflow_id)
        began_s = asyncio.get_running_loop().time()
        async with self.within(what, timeout_s):
            partitions = await self.partitions(task_queue, is_start=is_start)
            rpc = await self.rpc()
        if timeout_s is not None:
            timeout_s = max(0.0, timeout_s - asyncio.get_running_loop().time() + began_s)
        kept_s = None
        if is_kept:
            # Where it is known at once that nobody listens, nobody is waited for.
            kept_s = KEPT_S if await self._offline.is_served(task_queue) else 0.0
        make = self._signed(await self._encoded(what, make))
        return rpc, rpc.send(
            Request(
                what=what,
                task_queue=task_queue,
                topic=topic_name("commands", self.namespace, task_queue),
                partition=partition_of(workflow_id, partitions),
                key=workflow_id.encode(),
                make=make,
                timeout_s=timeout_s,
                is_prompt=is_prompt,
                waits=waits,
                again=again,
                kept_s=kept_s,
                on_notice=self.on_notice,
                headers=trace_headers(),
            )
        )

    async def ask_workflow(
        self,
        what: str,
        make: Callable[[ReplyTo], Record],
        *,
        workflow_id: str,
        task_queue: str,
        timeout_s: float | None,
        is_prompt: bool = True,
        is_kept: bool = False,
    ) -> Record:
        """Ask the partition of a workflow id, and wait for the answer."""
        read = await self._read(make, workflow_id=workflow_id, task_queue=task_queue)
        if read is not None:
            return await self.opened(what, read, workflow_id=workflow_id)
        rpc, pending = await self.send_to_workflow(
            what,
            make,
            workflow_id=workflow_id,
            task_queue=task_queue,
            timeout_s=timeout_s,
            is_prompt=is_prompt,
            is_kept=is_kept,
        )
        return await self.opened(what, await finish(rpc, pending), workflow_id=workflow_id)

    async def _read(
        self, make: Callable[[ReplyTo], Record], *, workflow_id: str, task_queue: str
    ) -> Record | None:
        """What an embedded log says itself, where nobody serves the queue."""
        if not self._offline.is_local:
            return None
        check_workflow_id(workflow_id)
        partition = partition_of(workflow_id, await self.partitions(task_queue))
        draft = make(ReplyTo(partition=0, correlation_id=""))
        return await self._offline.answer(draft, task_queue, partition, self.overrides.clock)

    async def _encoded(
        self, what: str, make: Callable[[ReplyTo], Record]
    ) -> Callable[[ReplyTo], Record]:
        """What makes the command with its payloads encoded. Raises CodecError."""
        draft = make(ReplyTo(partition=0, correlation_id=""))
        if self.codecs is None:
            _warn_large(what, draft, self.limits)
            return make
        codecs = self._codecs_for(draft)
        found = payloads_in(draft, headers=codecs.headers)
        if not found:
            return make
        encoded = await encode_payloads(found, codecs, what=what)
        _warn_large(what, with_payloads(draft, encoded, headers=codecs.headers), self.limits)
        return lambda reply: with_payloads(make(reply), encoded, headers=codecs.headers)

    def _signed(self, make: Callable[[ReplyTo], Record]) -> Callable[[ReplyTo], Record]:
        """What makes the command, and signs it where it reports an activity by ids."""
        if not self.engine_keys:
            return make
        return lambda reply: signed_by_ids(
            make(reply), self.engine_keys, self.overrides.clock.wall_ms()
        )

    def _codecs_for(self, command: Record) -> PayloadCodecs:
        """What the payloads of a command go through: in the context of whom it is about."""
        assert self.codecs is not None, "only asked for where there is one"
        workflow_id = getattr(command, "workflow_id", "")
        if not self.codecs.is_contextual or not workflow_id:
            return self.codecs
        context: SerializationContext = WorkflowSerializationContext(self.namespace, workflow_id)
        if activity_id := getattr(command, "activity_id", ""):
            context = from_elsewhere(self.namespace, workflow_id, activity_id)
        return self.codecs.with_context(context)

    async def opened(self, what: str, answer: Record, *, workflow_id: str = "") -> Record:
        """An answer with its payloads decoded. Raises CodecError when they cannot be."""
        if self.codecs is None or isinstance(answer, LEFT_ENCODED):
            return answer
        contexts = [WorkflowSerializationContext(self.namespace, workflow_id)]
        known = contexts if workflow_id else ()
        return (await decode_records([answer], self.codecs, what=what, contexts=known))[0]

    async def ask_partitions(
        self,
        what: str,
        make: Callable[[int, ReplyTo], Record],
        *,
        task_queue: str,
        partitions: Sequence[int],
        timeout_s: float | None,
    ) -> list[Record]:
        """Ask partitions of a task queue, and wait for all answers, in their order."""
        read = await self._read_partitions(make, task_queue, partitions)
        if read is not None:
            return [await self.opened(what, answer) for answer in read]
        async with self.within(what, timeout_s):
            rpc = await self.rpc()
        topic = topic_name("commands", self.namespace, task_queue)

        def send(partition: int) -> PendingRequest:
            return rpc.send(
                Request(
                    what=what,
                    task_queue=task_queue,
                    topic=topic,
                    partition=partition,
                    key=None,
                    make=lambda reply: make(partition, reply),
                    timeout_s=timeout_s,
                    on_notice=self.on_notice,
                )
            )

        requests = [send(partition) for partition in partitions]
        try:
            answers = await asyncio.gather(*(one.answer for one in requests))
            return [await self.opened(what, answer) for answer in answers]
        finally:
            for one in requests:
                rpc.drop(one)

    async def _read_partitions(
        self, make: Callable[[int, ReplyTo], Record], task_queue: str, partitions: Sequence[int]
    ) -> list[Record] | None:
        """What an embedded log says itself of some partitions, where nobody serves the queue."""
        nobody = ReplyTo(partition=0, correlation_id="")
        found = []
        for partition in partitions if self._offline.is_local else ():
            command, clock = make(partition, nobody), self.overrides.clock
            answer = await self._offline.answer(command, task_queue, partition, clock)
            if answer is None:
                return None
            found.append(answer)
        return found or None

    async def locate(self, workflow_id: str, run_id: str, timeout_s: float | None) -> str:
        """The task queue that a workflow id is on, asked of every queue of the namespace.

        Raises RPCError when none or more than one knows it, InvalidNameError for an id that
        cannot be.
        """
        check_workflow_id(workflow_id)
        async with self.within(f"looking for workflow {workflow_id!r}", timeout_s):
            queues = await self.task_queues()
        if not queues:
            raise self._no_topics(f"workflow {workflow_id!r}", f"{self.namespace}.*", "QUEUE")
        if len(queues) == 1:
            return queues[0]
        asking = {
            queue: asyncio.ensure_future(self._knows(queue, workflow_id, run_id, timeout_s))
            for queue in queues
        }
        try:
            return only_one(workflow_id, await first_found(asking))
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _knows(
        self, queue: str, workflow_id: str, run_id: str, timeout_s: float | None
    ) -> str | RPCError:
        """The status of a workflow on a queue, or nothing; an error when nobody says."""
        try:
            answer = await self.ask_workflow(
                f"looking for workflow {workflow_id!r} on task queue {queue!r}",
                lambda reply: DescribeWorkflow(workflow_id=workflow_id, run_id=run_id, reply=reply),
                workflow_id=workflow_id,
                task_queue=queue,
                timeout_s=timeout_s,
            )
        except RPCError as error:
            return error
        if isinstance(answer, RunDescription):
            return answer.summary.status
        return "" if isinstance(answer, Refused) and answer.code == "not_found" else "unknown"


async def describe_task_queue(
    connection: Connection, task_queue: str, timeout_s: float | None
) -> list[TaskQueueInfo]:
    """How every partition of a task queue stands."""
    what = f"describe of task queue {task_queue!r}"
    async with connection.within(what, timeout_s):
        partitions = await connection.partitions(task_queue)
    answers = await connection.ask_partitions(
        what,
        lambda partition, reply: DescribeTaskQueue(partition=partition, reply=reply),
        task_queue=task_queue,
        partitions=range(partitions),
        timeout_s=timeout_s,
    )
    return [expect(TaskQueueInfo, what, answer) for answer in answers]


async def skip_input(
    connection: Connection,
    task_queue: str,
    partition: int,
    offset: int,
    reason: str,
    timeout_s: float | None,
) -> None:
    """Put one input that holds its partition up with the dead letters."""
    what = f"skip of input {offset} in partition {partition} of task queue {task_queue!r}"
    answers = await connection.ask_partitions(
        what,
        lambda number, reply: SkipInput(
            partition=number,
            offset=offset,
            reason=reason,
            request_id=reply.correlation_id,
            reply=reply,
            identity=connection.identity,
        ),
        task_queue=task_queue,
        partitions=[partition],
        timeout_s=timeout_s,
    )
    expect(Accepted, what, answers[0])


async def finish(rpc: RpcClient, pending: PendingRequest) -> Record:
    """Wait for an answer, and forget the request when its caller is cancelled."""
    try:
        return await pending.answer
    finally:
        rpc.drop(pending)


def seconds(timeout: timedelta | None, *, default_s: float | None = RPC_TIMEOUT_S) -> float | None:
    """A call's timeout in seconds."""
    return default_s if timeout is None else timeout.total_seconds()


def unavailable(what: str, error: LogError) -> RPCError:
    """An error of the log as a call's error: it already says where, and how long it was tried."""
    code = RPCStatusCode.FAILED_PRECONDITION
    if isinstance(error, LogUnavailableError):
        code = RPCStatusCode.UNAVAILABLE
    elif isinstance(error, LogDeniedError):
        code = RPCStatusCode.UNAUTHENTICATED
    return RPCError(f"{what}: {error}", code)


def _warn_large(what: str, command: Record, limits: PayloadLimitsConfig) -> None:
    """Log which fields of a command hold more than the limits say."""
    for name in command.__struct_fields__:
        held = getattr(command, name)
        if not held or not isinstance(held, list | dict | Payload):
            continue
        limit = limits.memo_warn_size if name == "memo" else limits.payloads_warn_size
        size = _size_of(held)
        if 0 < limit < size:
            logger.warning(
                "%s: its %s takes %d bytes, more than the %d from which on a warning is logged;"
                " keep large values in a store (ExternalStorage) and pass where they are",
                what,
                name,
                size,
                limit,
            )


def _size_of(held: object) -> int:
    """The bytes of payloads; 0 of anything else."""
    if isinstance(held, Payload):
        return len(held.data)
    if isinstance(held, dict):
        return sum(map(_size_of, held.values()))
    return sum(map(_size_of, held)) if isinstance(held, list) else 0


def _nothing() -> None:
    """The log is another connection's to let go of."""


def _close_all(process: int, rpc_clients: list[RpcClient], close_log: Callable[[], None]) -> None:
    """The end of a client that was closed, forgotten, or outlived by the interpreter."""
    if os.getpid() != process:
        return  # A forked process has none of its threads, and its files are the parent's.
    for rpc in rpc_clients:
        rpc.close()
    rpc_clients.clear()
    close_log()
