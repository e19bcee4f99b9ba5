"""A host whose answers a test writes: it reads commands from a real log and answers on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from perdure_schemas.avro import decode, encode
from perdure_schemas.payloads import Record
from perdure_schemas.replies import NEW_OWNER, Notice, Reply
from perdure_topics.names import group_name, partition_of, topic_name
from perdure_topics.ports import Log
from perdure_topics.task_queue_topics import create_topics

Script = Callable[[Any], Iterable[Record] | Record | None]
PARTITIONS = 2


class ScriptedHost:
    """Answers each command with what the script gives for it, on a thread of its own."""

    def __init__(
        self,
        log: Log,
        script: Script,
        *,
        task_queue: str = "orders",
        namespace: str = "default",
        partitions: int = PARTITIONS,
    ) -> None:
        create_topics(log, namespace, task_queue, partitions=partitions)
        self.commands: list[Any] = []
        self.headers: list[tuple[tuple[str, bytes], ...]] = []
        self._script = script
        self._topic = topic_name("commands", namespace, task_queue)
        self._replies = topic_name("replies", namespace)
        self._partitions = partitions
        info = log.topic(self._replies)
        assert info is not None
        self._reply_partitions = info.partitions
        self._bell = threading.Event()
        self._tail = log.tail(on_ready=self._bell.set, committed=True)
        self._appender = log.appender(on_ready=lambda: None)
        # As hosts are: where none is a member, an embedded log is read without one.
        group = group_name("hosts", namespace, task_queue)
        self._member = log.member(group, self._topic, on_ready=lambda: None)
        self._later: list[tuple[Any, Record, int | None]] = []
        self._asked: dict[str, int] = {}
        """Which partition each question came to."""
        self._lock = threading.Lock()
        self._is_stopped = False
        for partition in range(partitions):
            self._tail.assign(self._topic, partition, 0)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def answer(self, command: Any, record: Record, *, partition: int | None = None) -> None:
        """Answer a command that was left without one, from any thread, as another partition's."""
        with self._lock:
            self._later.append((command, record, partition))
        self._bell.set()

    def announce(self, partition: int) -> None:
        """Say that a partition has a new owner, as one does that takes it over."""
        self.tell_all(encode(Notice(code=NEW_OWNER, message=self._topic)), partition=partition)

    def tell_all(self, body: bytes, *, partition: int) -> None:
        """Say something to every asker, from any thread."""
        value = encode(Reply(correlation_id="", partition=partition, body=body))
        for number in range(self._reply_partitions):
            self._appender.append(self._replies, number, value)

    def partition_of(self, workflow_id: str) -> int:
        """Where the commands for an id go."""
        return partition_of(workflow_id, self._partitions)

    async def seen(self, count: int) -> None:
        """Wait until so many commands have come."""
        async with asyncio.timeout(5):
            while len(self.commands) < count:  # noqa: ASYNC110 - its thread has no loop to set on
                await asyncio.sleep(0.01)

    def stop(self) -> None:
        """Answer nothing any more."""
        self._is_stopped = True
        self._bell.set()
        self._thread.join(5)
        self._member.close()
        self._tail.close()
        self._appender.close()

    def _serve(self) -> None:
        while not self._is_stopped:
            self._bell.wait(0.5)
            self._bell.clear()
            with self._lock:
                later, self._later = self._later, []
            for command, answer, of in later:
                self._reply(command, answer, of)
            for partition in range(self._partitions):
                for record in self._tail.take(self._topic, partition, 1000):
                    self._take(record.value or b"", record.headers, partition)

    def _take(self, value: bytes, headers: tuple[tuple[str, bytes], ...], partition: int) -> None:
        command: Any = decode(value)
        if command.reply is not None:
            self._asked[command.reply.correlation_id] = partition
        self.commands.append(command)
        self.headers.append(headers)
        given = self._script(command)
        answers = [given] if isinstance(given, Record) else (given or [])
        for answer in answers:
            self._reply(command, answer)

    def _reply(self, command: Any, answer: Record, partition: int | None = None) -> None:
        if partition is None:
            partition = self._asked[command.reply.correlation_id]
        reply = Reply(
            correlation_id=command.reply.correlation_id,
            partition=partition,
            offset=len(self.commands),
            body=encode(answer),
        )
        self._appender.append(self._replies, command.reply.partition, encode(reply))
