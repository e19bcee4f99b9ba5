"""The export queue of spans: bounded, emptied by a thread of its own.

A shard only ever appends here. When nobody takes the spans the queue fills, what comes then is
dropped, counted and said, and the shard goes on: `perdure traces --since` sends it again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from perdure_schemas.payloads import Record
from perdure_views.tracing.projection import project
from perdure_views.tracing.span_metrics import SpanMetrics
from perdure_views.tracing.spans import RunView, Span

logger = logging.getLogger("perdure.traces")

QUEUE_MAX = 20_000
"""Spans and span events that wait at once; about a kilobyte each."""
BATCH_MAX = 512
GATHER_S = 1.0
"""How long spans gather before they are sent."""
GIVE_UP_S = 300.0
"""For how long one batch is tried."""
RETRY_S = (1.0, 2.0, 5.0, 10.0)
SAY_EVERY_S = 60.0

Export = Callable[[Sequence[Span]], bool]
"""Sends spans to where they are kept; whether they have arrived."""


class Transition(Protocol):
    """An accepted transition of a run, as its owner shows it."""

    @property
    def workflow_id(self) -> str:
        """The workflow."""

    @property
    def run_id(self) -> str:
        """Its run."""

    @property
    def seq(self) -> int:
        """The seq of the first event."""

    @property
    def time_ms(self) -> int:
        """When it was."""

    @property
    def events(self) -> list[Record]:
        """What happened."""


class _Waiting(NamedTuple):
    view: PartitionSpans
    pseq: int
    spans: list[Span]


class SpanCounts(NamedTuple):
    """What has become of spans so far."""

    exported: int
    dropped: int
    waiting: int


class PartitionSpans:
    """The spans of what one owner of a partition has accepted."""

    def __init__(self, queue: SpanQueue, partition: int, shown: int) -> None:
        self._queue = queue
        self._partition = partition
        self._last = shown
        self._put = 0
        self.done = shown
        self.taken = 0
        """How many of what was put are sent or given up; only the queue's thread changes it."""

    def see(self, view: object | None, seen: Transition, pseq: int = 0) -> object | None:
        """Show a transition, given the view of its run; the view after it. Raises nothing."""
        assert view is None or isinstance(view, RunView)
        try:
            run = (seen.workflow_id, seen.run_id)
            view, spans = project(view, run, seen.seq, seen.time_ms, seen.events)
        except Exception:
            logger.exception("a transition of run %s is not shown: this is a defect", seen.run_id)
            spans = []
        if pseq:
            self._last = pseq
            if spans and view is not None:
                self._queue.measure(spans)
                if view.sampled and self._queue.put(_Waiting(self, pseq, spans)):
                    self._put += 1
        return view

    def took(self, seconds: float) -> None:
        """How long an accepted record was on its way."""
        self._queue.took(seconds)

    def passed(self, pseq: int) -> None:
        """A record was accepted that has nothing to show."""
        self._last = pseq

    def shown(self) -> int:
        """The pseq up to which everything has been sent or given up."""
        return self._last if self.taken == self._put else self.done

    def flush(self, timeout_s: float) -> None:
        """Wait so long for what is on its way, unless it gets nowhere."""
        self._queue.flush(timeout_s)


class SpanQueue:
    """Takes the spans of all partitions of a process and sends them, on a thread of its own."""

    def __init__(
        self,
        export: Export | None,
        *,
        measures: SpanMetrics | None = None,
        queue_max: int = QUEUE_MAX,
        gather_s: float = GATHER_S,
        give_up_s: float = GIVE_UP_S,
        address: str = "",
    ) -> None:
        self._export = export
        self._measures = measures
        self._max = queue_max
        self._gather_s = gather_s
        self._give_up_s = give_up_s
        self._address = address or "the collector"
        self._waiting: deque[_Waiting] = deque()
        self._weight = 0
        self._exported = 0
        self._dropped = 0
        self._said_dropped = 0
        self._said_s = -SAY_EVERY_S
        self._is_failing = False
        self._condition = threading.Condition()
        self._is_urgent = False
        self._is_closing = False
        self._is_sending = False
        self._thread = threading.Thread(target=self._run, name="perdure-spans", daemon=True)
        if export is not None:
            self._thread.start()

    def open(self, partition: int, shown: int) -> PartitionSpans:
        """Look at a partition from now on; up to a pseq everything was shown before."""
        return PartitionSpans(self, partition, shown)

    @property
    def counts(self) -> SpanCounts:
        """What has become of spans so far."""
        with self._condition:
            return SpanCounts(self._exported, self._dropped, self._weight)

    def measure(self, spans: Sequence[Span]) -> None:
        """Measure spans where anything is measured. Raises nothing."""
        if self._measures is not None:
            try:
                self._measures.measure(spans)
            except Exception:
                logger.exception("spans are not measured: this is a defect")

    def took(self, seconds: float) -> None:
        """Measure a record's way through the log."""
        if self._measures is not None:
            self._measures.took(seconds)

    def put(self, waiting: _Waiting) -> bool:
        """Take spans to send; False when there is no room, and they are dropped."""
        if self._export is None:
            return False
        weight = _weight(waiting.spans)
        with self._condition:
            if self._weight + weight > self._max or self._is_closing:
                self._dropped += len(waiting.spans)
                return False
            self._waiting.append(waiting)
            self._weight += weight
            if self._weight >= BATCH_MAX and not self._is_urgent:
                self._is_urgent = True
                self._condition.notify_all()
        return True

    def flush(self, timeout_s: float) -> None:
        """Wait so long until all is sent; not when sending fails."""
        ends_s = time.monotonic() + timeout_s
        with self._condition:
            while (self._waiting or self._is_sending) and not self._is_failing:
                left_s = ends_s - time.monotonic()
                if left_s <= 0:
                    return
                self._is_urgent = True
                self._condition.notify_all()
                self._condition.wait(left_s)

    def close(self, *, flush_s: float = 2.0) -> None:
        """Send what there is for so long, and end."""
        self.flush(flush_s)
        with self._condition:
            self._is_closing = True
            self._dropped += sum(len(waiting.spans) for waiting in self._waiting)
            self._waiting.clear()
            self._condition.notify_all()
        self._say_dropped(now_s=float("inf"))
        if self._export is not None:
            self._thread.join(flush_s)

    # On the thread.

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            spans = [span for waiting in batch for span in waiting.spans]
            has_arrived = self._send(spans)
            for waiting in batch:
                waiting.view.done = waiting.pseq
                waiting.view.taken += 1
            with self._condition:
                self._weight -= _weight(spans)
                self._exported += len(spans) if has_arrived else 0
                self._dropped += 0 if has_arrived else len(spans)
                self._is_sending = False
                self._condition.notify_all()
            self._say_dropped(time.monotonic())

    def _next_batch(self) -> list[_Waiting] | None:
        """What to send next, once it has gathered; None at the end."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._is_closing or self._is_urgent, timeout=self._gather_s
            )
            while not self._waiting:
                if self._is_closing:
                    return None
                self._is_urgent = False
                self._condition.wait_for(
                    lambda: self._is_closing or self._is_urgent, timeout=self._gather_s
                )
            batch: list[_Waiting] = []
            count = 0
            while self._waiting and (not batch or count < BATCH_MAX):
                batch.append(self._waiting.popleft())
                count += len(batch[-1].spans)
            self._is_urgent = self._weight >= 2 * BATCH_MAX or self._is_closing
            self._is_sending = True
            return batch

    def _send(self, spans: list[Span]) -> bool:
        """Try to send a batch, for as long as one is tried."""
        began_s = time.monotonic()
        for tries in range(10_000):
            if self._try(spans):
                if self._is_failing:
                    logger.warning("spans arrive at %s again", self._address)
                self._is_failing = False
                return True
            now_s = time.monotonic()
            if not self._is_failing or now_s - self._said_s >= SAY_EVERY_S:
                self._said_s = now_s
                logger.warning(
                    "spans do not arrive at %s; up to %d are kept meanwhile, and workflows go on",
                    self._address,
                    self._max,
                )
            with self._condition:
                self._is_failing = True
                self._condition.notify_all()
                wait_s = RETRY_S[min(tries, len(RETRY_S) - 1)]
                if now_s + wait_s - began_s > self._give_up_s:
                    return False
                if self._condition.wait_for(lambda: self._is_closing, timeout=wait_s):
                    return False
        return False

    def _try(self, spans: list[Span]) -> bool:
        assert self._export is not None
        try:
            return self._export(spans)
        except Exception as error:
            logger.debug("an export failed: %s", error)
            return False

    def _say_dropped(self, now_s: float) -> None:
        dropped = self._dropped - self._said_dropped
        if dropped and now_s - self._said_s >= SAY_EVERY_S:
            self._said_dropped = self._dropped
            logger.warning(
                "%d spans were dropped, because %s did not take them; to send them later:"
                " perdure traces --since",
                dropped,
                self._address,
            )


def _weight(spans: Sequence[Span]) -> int:
    return sum(1 + len(span.events) for span in spans)
