"""The Faust app over a task queue's events: rows in RocksDB tables, findings published.

Importing this imports Faust. An agent takes one partition's records in order; all rows of the
partition are in one table, so their changelog has them in order too, the cursor last. A record
that comes again changes nothing, and one that is missing is asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from faust.serializers.codecs import Codec, register
from faust.types import TP

from perdure_schemas.avro import decode, encode
from perdure_schemas.findings import Finding
from perdure_schemas.payloads import Record
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import StoredRecord
from perdure_views.faust_broker import LIFE_SIGN, broker_urls, credentials
from perdure_views.header_names import take_any_header_names
from perdure_views.held_partitions import HeldPartitions
from perdure_views.insights.aggregate import place_of, take
from perdure_views.insights.rows import RUNS, WINDOWS, decode_figures, decode_run
from perdure_views.insights.rules import quiet_notices
from perdure_views.insights.windows import summary

logger = logging.getLogger("perdure.insights")
LOOK_EVERY_S: Final = 15.0
TOLD_MAX: Final = 10_000
MARK_BYTES: Final = 5
CODEC: Final = "perdure-avro"
STORE_OPTIONS: Final = {
    "driver": "rocksdict",
    "write_buffer_size": 16 * 1024 * 1024,
    "block_cache_size": 64 * 1024 * 1024,
}


class AvroCodec(Codec):
    """Our framed records, for Faust's topics: `value_serializer="perdure-avro"`."""

    def _loads(self, data: bytes) -> Record:
        return decode(data)

    def _dumps(self, record: Record) -> bytes:
        return encode(record)


@dataclass(frozen=True, kw_only=True)
class InsightsSettings:
    """What the app reads, and where it keeps its tables."""

    bootstrap: str
    namespace: str
    task_queue: str
    partitions: int
    directory: Path
    """Where tables are kept: empty at the start, for they come from the changelog.

    Those of a process that was killed may be ahead of it: Faust writes a row before it is sent,
    and would put older rows over some of them while the cursor stayed where it was, so that what
    lies between was never counted.
    """
    way: Mapping[str, Any]
    """How the broker is reached: aiokafka's keyword arguments."""
    web_host: str = "127.0.0.1"
    web_port: int = 6066
    replication: int = 1
    """Copies of the changelog's records."""


def _mark(partition: int) -> bytes:
    """What a partition's keys begin with: Faust looks some up without saying where."""
    return b"%04d/" % partition


def make_app(settings: InsightsSettings) -> faust.App:
    """The app over a task queue's events."""
    register(CODEC, AvroCodec())
    take_any_header_names()
    name = group_name("insights", settings.namespace, settings.task_queue)
    app = faust.App(
        name,
        broker=broker_urls(settings.bootstrap),
        broker_credentials=credentials(settings.way),
        store="rocksdb://",
        datadir=str(settings.directory),
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=1.0,
        **LIFE_SIGN,
        stream_wait_empty=False,
        web_host=settings.web_host,
        web_bind=settings.web_host,
        web_port=settings.web_port,
    )
    _Insights(app, settings)
    return app


def run(settings: InsightsSettings) -> None:
    """Run the app until it is told to stop."""
    faust.Worker(make_app(settings), loglevel="warning").execute_from_commandline()


def _record_of(message: Any) -> StoredRecord:
    return StoredRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=(),
        timestamp_ms=int(message.timestamp * 1000),
    )


class _Insights:
    """The parts of the app: its topics, its table, its agent, its timer and its pages."""

    def __init__(self, app: faust.App, settings: InsightsSettings) -> None:
        self._app = app
        self._held = HeldPartitions()
        self._told: dict[str, None] = {}
        """Findings of silence that were told, so that each is told once while this runs."""
        self._settings = settings
        events = topic_name("events", settings.namespace, settings.task_queue)
        self._events = app.topic(
            events, key_serializer="raw", value_serializer="raw", partitions=settings.partitions
        )
        self._findings = app.topic(
            topic_name("findings", settings.namespace),
            key_serializer="raw",
            value_serializer=CODEC,
        )
        self.table = app.Table(
            "rows",
            partitions=settings.partitions,
            key_type=bytes,
            value_type=bytes,
            options=STORE_OPTIONS,
        )
        app.agent(self._events, name="insights")(self._take_all)
        app.timer(interval=LOOK_EVERY_S)(self._look)
        # Faust makes a view of the function: its first argument is the view.
        app.page("/figures")(_page_of(self))

    async def _take_all(self, stream: Any) -> None:
        async for event in stream.events():
            await self._take(event.message)

    async def _take(self, message: Any) -> None:
        """Take a record in. One that cannot be read holds up its own partition."""
        if self._held.is_held(message.partition):
            return
        record = _record_of(message)
        try:
            await self._take_record(message, record)
        except Exception as error:
            # Nothing of it is in the table yet: it is read again, with all that follows it.
            self._held.hold(message.partition, record, error)

    async def _take_record(self, message: Any, record: StoredRecord) -> None:
        place = place_of(partial(self._get, _mark(message.partition)))
        if message.offset > place.next_offset:
            # The group was further than the tables: what lies between is read again.
            where = TP(message.topic, message.partition)
            first = (await self._app.consumer.earliest_offsets(where))[where]
            if first <= place.next_offset:
                logger.warning("%s-%d: back to %d", *where, place.next_offset)
                await self._app.consumer.seek(where, place.next_offset)
                return
        mark = _mark(message.partition)
        changes, found = take(partial(self._get, mark), record, self._settings.task_queue)
        for key, value in changes:
            if value is None:
                self.table.pop(mark + key, None)
            else:
                self.table[mark + key] = value
        for finding in found:
            await self._tell(finding)

    def _get(self, mark: bytes, key: bytes) -> bytes | None:
        found: bytes | None = self.table.get(mark + key)
        return found

    async def _tell(self, finding: Finding) -> None:
        logger.info("%s: %s", finding.kind, finding.message)
        key = (finding.workflow_id or finding.task_queue).encode()
        await self._findings.send(key=key, value=finding)

    async def _look(self) -> None:
        """Find the runs in which nothing happens any more."""
        now_ms = time.time_ns() // 1_000_000
        for key, value in list(self.table.items()):
            if key[MARK_BYTES:].startswith(RUNS):
                run = decode_run(value)
                for finding in quiet_notices(run, self._settings.task_queue, now_ms):
                    if finding.finding_id not in self._told:
                        self._told[finding.finding_id] = None
                        await self._tell(finding)
        while len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]

    def figures(self) -> list[dict[str, Any]]:
        """The figures of the partitions of this process."""
        rows = [
            (key[MARK_BYTES:], decode_figures(value))
            for key, value in self.table.items()
            if key[MARK_BYTES:].startswith(WINDOWS)
        ]
        return summary(rows)


def _page_of(insights: _Insights) -> Any:
    async def figures(view: Any, _request: Any) -> Any:
        """The figures of the partitions of this process, as JSON."""
        return view.json(insights.figures())

    return figures
