"""Triggers: workflows started and signalled by the records of any topic.

A `Triggers` object holds functions, one a topic; each makes of a record what is to be done: a
`Start`, a `Signal`, or nothing. A record that is read again, because a process died or partitions
moved, does nothing twice: ids come from the record's key or place, and the place is the request id.
"""

from __future__ import annotations

import asyncio
import inspect
import operator
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec
from msgspec.structs import replace

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure._records.workflow_names import workflow_facts
from perdure.client import Client
from perdure.client._commands import buffer_ms_of, start_command
from perdure.client._exceptions import refusal
from perdure.client._inputs import StartWorkflowInput
from perdure.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from perdure_schemas.message_commands import SignalWorkflow
from perdure_schemas.replies import Accepted, Refused
from perdure_topics.names import quote

if TYPE_CHECKING:
    from datetime import timedelta

    from perdure_schemas.payloads import Record as Command
    from perdure_schemas.payloads import ReplyTo
    from perdure_topics.ports import StoredRecord
    from perdure_views.trigger_app import Source

CALL_S: Final = 30.0
_PASSING: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
    }
)
_FRESH: Final = frozenset({"too_old", "too_many", "busy", "buffer_full", "unreadable"})
"""Refusals of a moment. They are recorded with their request id, so that another one is needed."""
FRESH_MAX: Final = 10_000


class BadRecord(Exception):
    """Raised by a trigger's function for a record that it can do nothing with."""


@dataclass(frozen=True)
class TriggerRecord:
    """A record of a topic."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: datetime

    @property
    def place(self) -> str:
        """Topic, partition and offset as one text: no other record has it."""
        return f"{self.topic}-{self.partition}-{self.offset}"

    @property
    def key_text(self) -> str:
        """The key as text. Raises BadRecord where there is none."""
        if not self.key:
            raise BadRecord("the record has no key")
        try:
            return self.key.decode()
        except UnicodeDecodeError as error:
            raise BadRecord(f"its key is no text: {error}") from error

    def json(self, type: Any = Any) -> Any:
        """The value read as JSON, of a type where one is given. Raises BadRecord."""
        try:
            return msgspec.json.decode(self.value or b"", type=type)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BadRecord(f"its value cannot be read: {error}") from error


@dataclass(frozen=True)
class Start:
    """A workflow to start; with a signal, one that runs already only gets that."""

    workflow: str | Callable[..., Awaitable[Any]]
    args: Sequence[Any] = ()
    task_queue: str = ""
    id: str = ""
    """Empty: of topic, partition and offset."""
    signal: str = ""
    signal_args: Sequence[Any] = ()
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    memo: Mapping[str, Any] | None = None
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None
    priority: Priority = field(default=Priority.default)
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE
    """An id that has been used starts nothing."""
    request_id: str = ""
    """What tells a request that was made before; empty: of topic, partition and offset."""


@dataclass(frozen=True)
class Signal:
    """A signal for a workflow that runs."""

    id: str
    signal: str
    args: Sequence[Any] = ()
    task_queue: str = ""
    buffer_for: timedelta | None = None
    """How long it may wait for its workflow to be started; without it that is a dead letter."""
    request_id: str = ""
    """What tells a request that was made before; empty: of topic, partition and offset."""


Action = Start | Signal | None
Maker = Callable[..., Action | Sequence[Action] | Awaitable[Any]]


class Triggers:
    """Functions over topics, run by `perdure triggers MODULE` or by `run`."""

    def __init__(self, name: str, *, task_queue: str = "") -> None:
        """The name is that of the consumer group; the task queue is that of all actions."""
        quote(name, "name of the triggers")
        self.name = name
        self._task_queue = task_queue
        self._makers: dict[str, tuple[Maker, str]] = {}

    def on(self, topic: str, *, dead_letters: str = "") -> Callable[[Maker], Maker]:
        """Say what is done with the records of a topic.

        A function with one parameter, of type TriggerRecord or of none, is given the record. Others
        are given what their parameters name: `key` (bytes, or str for text), `headers` (a dict of
        bytes, or of str), `request_id`, `topic`, `partition`, `offset`, `timestamp`, `record`; and
        one parameter of any other name is the value, read as JSON of its type. What cannot be read
        so is a dead letter.

            @triggers.on("orders")
            def placed(order: Order, key: str, headers: dict[str, str]) -> Start:
                return Start("Order", [order], id=key, request_id=headers["request-id"])

        What cannot be done goes to the dead-letter topic, `<topic>.dead` by default.

        Raises ValueError for a topic that has a trigger, TypeError for a function that wants
        something else.
        """
        if topic in self._makers:
            raise ValueError(f"topic {topic!r} has a trigger already")

        def take(maker: Maker) -> Maker:
            self._makers[topic] = (_reader(maker), dead_letters or f"{topic}.dead")
            return maker

        return take

    @property
    def topics(self) -> dict[str, str]:
        """The topics that are read, each with its dead-letter topic."""
        return {topic: dead for topic, (_, dead) in self._makers.items()}

    def run(
        self, target: str, *, namespace: str = "default", state_directory: str | Path | None = None
    ) -> None:
        """Act on records until told to stop. Raises ValueError where something is missing."""
        from perdure_topics.kafka.access import access_settings, aiokafka_settings
        from perdure_topics.tables.state_directory import resolve_state_directory

        try:
            from perdure_views.trigger_app import Source, TriggerSettings, run
        except ImportError as error:
            text = f"Faust is not installed ({error}): pip install 'perdure[insights]'"
            raise ValueError(text) from error
        if target.startswith(("http", "file:")):
            raise ValueError(f"{target} has no topics of yours: triggers read a Kafka broker's")
        self._check_topics(target)
        acting = _Acting(target, namespace, self._task_queue)
        sources: list[Source] = [
            Source(topic=topic, dead_letters=dead, act=acting.of(maker))
            for topic, (maker, dead) in self._makers.items()
        ]
        directory = resolve_state_directory(state_directory) / "triggers" / self.name
        directory.mkdir(parents=True, exist_ok=True)
        run(
            TriggerSettings(
                group=self.name,
                bootstrap=target,
                directory=directory,
                way=aiokafka_settings(access_settings()),
            ),
            sources,
        )

    def _check_topics(self, target: str) -> None:
        from perdure import _assembly as assembly

        if not self._makers:
            raise ValueError(f"the triggers {self.name!r} read no topic: use @{self.name}.on(...)")
        log, close = assembly.open_log(target)
        try:
            for name in (*self.topics, *self.topics.values()):
                if log.topic(name) is None:
                    raise ValueError(f"there is no topic {name!r} on {log.address}: make it first")
        finally:
            close()


class _RefusedNow(Exception):
    """A request was refused for now: it is made again, with another id."""


class _Acting:
    """Does what triggers ask for, by a client that is made when the first of it is known."""

    def __init__(self, target: str, namespace: str, task_queue: str) -> None:
        self._target = target
        self._namespace = namespace
        self._task_queue = task_queue
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._fresh: dict[str, int] = {}
        """How many request ids of a record's have been refused for a moment."""

    def of(self, maker: Maker) -> Callable[[StoredRecord], Awaitable[None]]:
        """What acts on a record as its function says."""
        from perdure_views.keyed_work import BadRecordError, NotNowError

        async def act(stored: StoredRecord) -> None:
            record = _record_of(stored)
            try:
                found = maker(record)
                actions = await found if inspect.isawaitable(found) else found
                for place, action in enumerate(_listed(actions)):
                    await self._do(record, place, action)
            except _RefusedNow as error:
                raise NotNowError(str(error)) from error
            except RPCError as error:
                kind = NotNowError if error.status in _PASSING else BadRecordError
                raise kind(str(error)) from error
            except BadRecord as error:
                raise BadRecordError(str(error)) from error
            except Exception as error:
                # Whatever a user's function raises is about this record, and must not stop others.
                raise BadRecordError(f"{type(error).__name__}: {error}") from error

        return act

    async def _connected(self) -> Client:
        """The one client of all that is acted on at once."""
        async with self._connecting:
            if self._client is None:
                self._client = await Client.connect(self._target, namespace=self._namespace)
            return self._client

    async def _do(self, record: TriggerRecord, place: int, action: Start | Signal) -> None:
        client = await self._connected()
        own = record.place if place == 0 else f"{record.place}-{place}"
        name = action.request_id or own
        fresh = self._fresh.get(name, 0)
        # Counted up from nothing after a restart as well: what was taken then is found again.
        request_id = f"{name}~{fresh}" if fresh else name
        if isinstance(action, Start):
            workflow_id = action.id or own
            make: Callable[[ReplyTo], Command] = _start(client, action, workflow_id, request_id)
        else:
            workflow_id = action.id
            make = _signal(client, action, request_id)
        queue = action.task_queue or self._task_queue
        if not queue:
            raise BadRecord(f"no task queue is named for workflow {workflow_id!r}")
        what = f"{type(action).__name__.lower()} of workflow {workflow_id!r}"
        answer = await client.connection.ask_workflow(
            what, make, workflow_id=workflow_id, task_queue=queue, timeout_s=CALL_S
        )
        if isinstance(answer, Refused) and answer.code in _FRESH:
            if len(self._fresh) >= FRESH_MAX:
                self._fresh.clear()
            self._fresh[name] = fresh + 1
            raise _RefusedNow(str(refusal(what, answer, workflow_id=workflow_id)))
        self._fresh.pop(name, None)
        if isinstance(answer, Refused) and answer.code != "already_started":
            raise refusal(what, answer, workflow_id=workflow_id)
        assert isinstance(answer, Accepted | Refused), answer


def _start(
    client: Client, action: Start, workflow_id: str, request_id: str
) -> Callable[[ReplyTo], Command]:
    facts = workflow_facts(action.workflow)
    conflict = WorkflowIDConflictPolicy
    make = start_command(
        StartWorkflowInput(
            workflow=facts.name,
            args=action.args,
            id=workflow_id,
            task_queue=action.task_queue,
            execution_timeout=action.execution_timeout,
            run_timeout=action.run_timeout,
            task_timeout=None,
            id_reuse_policy=action.id_reuse_policy,
            id_conflict_policy=conflict.USE_EXISTING if action.signal else conflict.FAIL,
            retry_policy=action.retry_policy,
            cron_schedule="",
            memo=action.memo,
            search_attributes=action.search_attributes,
            start_delay=None,
            headers={},
            static_summary=None,
            static_details=None,
            ret_type=None,
            rpc_metadata={},
            rpc_timeout=None,
            priority=action.priority,
            start_signal=action.signal or None,
            start_signal_args=action.signal_args,
        ),
        client.values_for(action.id),
        client.identity,
    )
    return lambda reply: replace(make(reply), request_id=request_id)


def _signal(client: Client, action: Signal, request_id: str) -> Callable[[ReplyTo], Command]:
    values = client.values_for(action.id).to_payloads(list(action.args))
    buffer_ms = buffer_ms_of(action.buffer_for)
    return lambda reply: SignalWorkflow(
        workflow_id=action.id,
        signal_name=action.signal,
        input=values,
        request_id=request_id,
        first_sent_ms=int(time.time() * 1000),
        reply=reply,
        identity=client.identity,
        buffer_ms=buffer_ms,
    )


_NAMED: Final = ("topic", "partition", "offset", "timestamp")


def _reader(maker: Maker) -> Callable[[TriggerRecord], Any]:
    """What gives a function of a record what its parameters ask for."""
    parameters = list(inspect.signature(maker).parameters.values())
    try:
        hints = get_type_hints(maker)
    except NameError:
        # A type that only a type checker knows; who takes the record needs none.
        if len(parameters) == 1:
            return maker
        raise
    wanted = {one.name: _getter(one.name, hints.get(one.name)) for one in parameters}
    values = [name for name, get in wanted.items() if get is None]
    if len(values) > 1:
        raise TypeError(
            f"{maker.__qualname__} wants {', '.join(values)} of a record: one of them can be the"
            " value; others are key, headers, request_id, topic, partition, offset, timestamp and"
            " record"
        )
    if len(parameters) == 1 and not hints.keys() - {"return"}:
        return maker

    def read(record: TriggerRecord) -> Any:
        return maker(
            **{
                name: get(record) if get else record.json(hints.get(name, Any))
                for name, get in wanted.items()
            }
        )

    return read


def _getter(name: str, kind: Any) -> Callable[[TriggerRecord], Any] | None:
    """What gives a parameter of a name and type its value; None for that of the record's value."""
    if kind is TriggerRecord or name == "record":
        return lambda record: record
    if name == "key":
        return operator.attrgetter("key_text" if kind is str else "key")
    if name == "headers":
        return _text_headers if kind in (dict[str, str], Mapping[str, str]) else _headers
    if name == "request_id":
        return operator.attrgetter("place")
    return operator.attrgetter(name) if name in _NAMED else None


def _headers(record: TriggerRecord) -> dict[str, bytes]:
    return dict(record.headers)


def _text_headers(record: TriggerRecord) -> dict[str, str]:
    try:
        return {name: value.decode() for name, value in record.headers}
    except UnicodeDecodeError as error:
        raise BadRecord(f"a header is no text: {error}") from error


def _listed(actions: Any) -> list[Start | Signal]:
    found = [actions] if isinstance(actions, Start | Signal) else list(actions or ())
    for action in found:
        if not isinstance(action, Start | Signal):
            raise TypeError(f"a trigger returns Start, Signal, or nothing; not {action!r}")
    return found


def _record_of(stored: StoredRecord) -> TriggerRecord:
    return TriggerRecord(
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        key=stored.key,
        value=stored.value,
        headers=stored.headers,
        timestamp=datetime.fromtimestamp(stored.timestamp_ms / 1000, UTC),
    )
