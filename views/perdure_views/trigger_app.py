"""The Faust app of triggers: one agent a topic, records handled in order for each key.

Importing this imports Faust. A record is done with when it has been acted on, or stands in the
dead-letter topic; until then its offset is not committed, so whoever dies, it comes again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from opentelemetry.metrics import Counter, Observation, get_meter

from perdure_schemas.version import VERSION
from perdure_topics.ports import StoredRecord
from perdure_views import metrics
from perdure_views.faust_broker import LIFE_SIGN, broker_urls, credentials, lags, read_committed
from perdure_views.header_names import take_any_header_names
from perdure_views.keyed_work import KeyedWork, place_of

logger = logging.getLogger("perdure.triggers")
REASON_CHARS_MAX: Final = 1_000

Act = Callable[[StoredRecord], Awaitable[None]]
"""Acts on a record. Raises BadRecordError for one that nothing can be done with."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A topic, what is done with its records, and where those go that nothing can be done with."""

    topic: str
    dead_letters: str
    act: Act


@dataclass(frozen=True, kw_only=True)
class TriggerSettings:
    """The app: its consumer group, its broker, and where Faust keeps what it keeps."""

    group: str
    bootstrap: str
    directory: Path
    way: Mapping[str, Any]
    """How the broker is reached: aiokafka's keyword arguments."""
    from_beginning: bool = True
    """Where a group begins that has read nothing yet."""


def run(settings: TriggerSettings, sources: Sequence[Source]) -> None:
    """Run the app until it is told to stop."""
    faust.Worker(make_app(settings, sources), loglevel="warning").execute_from_commandline()


def make_app(settings: TriggerSettings, sources: Sequence[Source]) -> faust.App:
    """The app over some topics."""
    take_any_header_names()
    app = faust.App(
        settings.group,
        broker=broker_urls(settings.bootstrap),
        broker_credentials=credentials(settings.way),
        store="memory://",
        datadir=str(settings.directory),
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest" if settings.from_beginning else "latest",
        broker_commit_interval=1.0,
        **LIFE_SIGN,
        stream_wait_empty=False,
        web_enabled=False,
    )
    read_committed(app)
    meter = get_meter("perdure", VERSION)
    records = metrics.counter(meter, metrics.TRIGGER_RECORDS)
    metrics.observed(meter, metrics.TRIGGER_LAG, partial(_observe, app, settings.group))
    for source in sources:
        _Agent(app, source, partial(_count, records, settings.group, source.topic))
    return app


def _observe(app: faust.App, group: str, _options: Any) -> list[Observation]:
    try:
        found = lags(app)
    except Exception as error:
        # Before it has joined, and while partitions move, it does not know.
        logger.debug("no lag: %s", error)
        return []
    return [
        Observation(lag, {"triggers": group, "topic": topic, "partition": partition})
        for (topic, partition), lag in found.items()
    ]


def _count(counter: Counter, group: str, topic: str, outcome: str) -> None:
    counter.add(1, {"triggers": group, "topic": topic, "outcome": outcome})


class _Agent:
    """One topic's agent."""

    def __init__(self, app: faust.App, source: Source, count: Callable[[str], None]) -> None:
        self._source = source
        self._count = count
        raw: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw"}
        # A record without a value is one as well.
        topic = app.topic(source.topic, allow_empty=True, **raw)
        self._dead = app.topic(source.dead_letters, allow_empty=True, **raw)
        app.agent(topic, name=f"{source.topic}-trigger")(self._take)

    async def _take(self, stream: Any) -> None:
        work = KeyedWork(self._act, self._bury)
        try:
            async for event in stream.noack().events():
                # Its offset is committed once it and all before it are done with.
                await work.add(_record_of(event.message), event.ack)
        finally:
            work.close()

    async def _act(self, record: StoredRecord) -> None:
        await self._source.act(record)
        self._count("done")

    async def _bury(self, record: StoredRecord, reason: str) -> None:
        """Put a record where people look at it, with the reason."""
        logger.error("%s: %s; it is in %s", place_of(record), reason, self._source.dead_letters)
        own = [
            ("perdure-reason", reason[:REASON_CHARS_MAX].encode(errors="backslashreplace")),
            ("perdure-source", place_of(record).encode()),
        ]
        try:
            # A name may stand there twice, as Kafka allows; ours come last.
            await self._send_dead(record.key, record.value, [*record.headers, *own])
        except Exception as error:
            # As one that fills its topic to the last byte: where it came from says the rest.
            logger.error("%s cannot be buried whole: %s", place_of(record), error)
            await self._send_dead(None, None, own)
        self._count("buried")

    async def _send_dead(
        self, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> None:
        # Its offset must not be committed before this is there.
        await (await self._dead.send(key=key, value=value, headers=headers))


def _record_of(message: Any) -> StoredRecord:
    headers = message.headers or ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return StoredRecord(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=tuple((name, bytes(value or b"")) for name, value in pairs),
        timestamp_ms=int(message.timestamp * 1000),
    )
