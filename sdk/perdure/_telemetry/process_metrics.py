"""Observable metrics of the hosts and workers of this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from perdure_actors import table_layout
from perdure_actors.visibility.counting import kept_count, open_and_blocked
from perdure_schemas.version import VERSION
from perdure_topics.names import topic_name
from perdure_topics.ports import LogError
from perdure_views import metrics

if TYPE_CHECKING:
    from perdure_actors.host.thread import HostThread
    from perdure_actors.worker.activity_worker import ActivityWorker
    from perdure_topics.ports import Table
    from perdure_views.metrics import Metric
    from perdure_views.tracing.span_queue import SpanQueue

logger = logging.getLogger("perdure.metrics")
Facts = dict[str, Any]
_COUNTS: Final = {
    metrics.TRANSITIONS: "transitions",
    metrics.ACTIVATIONS: "activations",
    metrics.CACHE_HITS: "cache hits",
    metrics.REPLAYS: "replays",
    metrics.REPLAYED_EVENTS: "replayed events",
    metrics.STALE: "stale",
}
_INPUTS: Final = ("dead", "forwarded", "doubled actor command")
_IGNORED: Final = "ignored: "


class ProcessMetrics:
    """The instruments of a process, over the hosts and workers that run in it now."""

    def __init__(self) -> None:
        self._hosts: dict[HostThread, Facts] = {}
        self._workers: dict[ActivityWorker, Facts] = {}
        self._queues: dict[SpanQueue, Facts] = {}
        meter = get_meter("perdure", VERSION)
        for metric, name in _COUNTS.items():
            self._observe(meter, metric, _counted(name, self._hosts))
        self._observe(meter, metrics.INPUTS, self._inputs)
        self._observe(meter, metrics.TAKEOVERS, self._takeovers)
        self._observe(meter, metrics.PARTITIONS, self._partitions)
        self._observe(meter, metrics.RUNS, self._runs)
        self._observe(meter, metrics.PENDING, self._pending)
        self._observe(meter, metrics.LAG, self._lag)
        self._observe(meter, metrics.TABLE_SIZE, self._table_size)
        self._observe(meter, metrics.UNACKED, self._unacked)
        self._observe(meter, metrics.SLOTS, self._slots)
        self._observe(meter, metrics.TASKS, self._tasks)
        self._observe(meter, metrics.SPANS, self._spans)

    def add(
        self,
        facts: Facts,
        host: HostThread | None,
        worker: ActivityWorker | None,
        queue: SpanQueue | None,
    ) -> Callable[[], None]:
        """Ask these too from now on; what it gives back ends that."""
        if host is not None:
            self._hosts[host] = facts
        if worker is not None:
            self._workers[worker] = facts
        if queue is not None:
            self._queues[queue] = facts

        def remove() -> None:
            known: Any
            for known, one in (
                (self._hosts, host),
                (self._workers, worker),
                (self._queues, queue),
            ):
                known.pop(one, None)

        return remove

    @staticmethod
    def _observe(meter: Any, metric: Metric, ask: Callable[[], Iterable[Observation]]) -> None:
        def callback(_: CallbackOptions) -> list[Observation]:
            try:
                return list(ask())
            except Exception as error:
                # A partition may go while it is asked; the next reading finds it gone.
                logger.debug("%s is not known now: %s", metric.name, error)
                return []

        metrics.observed(meter, metric, callback)

    def _inputs(self) -> Iterator[Observation]:
        for thread, facts in list(self._hosts.items()):
            if thread.host is None:
                continue
            counts = thread.host.counts()
            for outcome in _INPUTS:
                yield Observation(counts[outcome], {**facts, "outcome": outcome.partition(" ")[0]})
            ignored = sum(n for name, n in counts.items() if name.startswith(_IGNORED))
            yield Observation(ignored, {**facts, "outcome": "ignored"})

    def _takeovers(self) -> Iterator[Observation]:
        for thread, facts in list(self._hosts.items()):
            if thread.host is not None:
                yield Observation(thread.host.takeovers, facts)

    def _partitions(self) -> Iterator[Observation]:
        for thread, facts in list(self._hosts.items()):
            if thread.host is not None:
                slots = list(thread.host.slots.values())
                yield Observation(sum(slot.shard is not None for slot in slots), facts)

    def _runs(self) -> Iterator[Observation]:
        """From the first reading on, trouble or not: what appears with trouble alerts too late."""
        for tables, facts in self._tables():
            counted = [open_and_blocked(table) for table in tables]
            states = {
                "open": sum(one for one, _ in counted),
                "blocked": sum(one for _, one in counted),
                "retrying": sum(kept_count(table, table_layout.RETRYING) for table in tables),
                "exhausted": sum(kept_count(table, table_layout.EXHAUSTED) for table in tables),
            }
            for state, count in states.items():
                yield Observation(count, {**facts, "state": state})

    def _pending(self) -> Iterator[Observation]:
        for tables, facts in self._tables():
            pending = (kept_count(table, table_layout.PENDING_ACTIVITIES) for table in tables)
            yield Observation(sum(pending), facts)

    def _tables(self) -> Iterator[tuple[list[Table], Facts]]:
        for thread, facts in list(self._hosts.items()):
            if thread.host is not None:
                slots = list(thread.host.slots.values())
                yield [slot.shard.table for slot in slots if slot.shard is not None], facts

    def _shards(self) -> Iterator[tuple[Any, Facts]]:
        for thread, facts in list(self._hosts.items()):
            if thread.host is None:
                continue
            for number, slot in list(thread.host.slots.items()):
                if slot.shard is not None:
                    yield slot.shard, {**facts, "partition": number}

    def _lag(self) -> Iterator[Observation]:
        for shard, facts in self._shards():
            services = shard.services
            topic = topic_name("commands", services.namespace, services.task_queue)
            try:
                _, end = services.log.offsets(topic, shard.partition)
            except LogError:
                return
            yield Observation(max(end - shard.journal.upto - 1, 0), facts)

    def _table_size(self) -> Iterator[Observation]:
        for shard, facts in self._shards():
            yield Observation(shard.table.size_bytes(), facts)

    def _unacked(self) -> Iterator[Observation]:
        for shard, facts in self._shards():
            yield Observation(len(shard.journal.in_flight), facts)

    def _slots(self) -> Iterator[Observation]:
        for worker, facts in list(self._workers.items()):
            used, most = worker.slots
            yield Observation(used, {**facts, "state": "used"})
            yield Observation(most - used, {**facts, "state": "free"})

    def _tasks(self) -> Iterator[Observation]:
        for worker, facts in list(self._workers.items()):
            for event, count in dict(worker.counts).items():
                yield Observation(count, {**facts, "event": event})

    def _spans(self) -> Iterator[Observation]:
        for queue, facts in list(self._queues.items()):
            exported, dropped, _ = queue.counts
            yield Observation(exported, {**facts, "state": "exported"})
            yield Observation(dropped, {**facts, "state": "dropped"})


def _counted(name: str, hosts: dict[HostThread, Facts]) -> Callable[[], Iterator[Observation]]:
    def ask() -> Iterator[Observation]:
        for thread, facts in list(hosts.items()):
            if thread.host is not None:
                yield Observation(thread.host.counts()[name], facts)

    return ask


_made: list[ProcessMetrics] = []


def process_metrics() -> ProcessMetrics:
    """Those of this process, made when first asked for: instruments cannot be taken back."""
    if not _made:
        _made.append(ProcessMetrics())
    return _made[0]
