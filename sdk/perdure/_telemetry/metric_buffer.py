"""The metric buffer: a meter provider that keeps metrics until they are retrieved."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Protocol

from opentelemetry import metrics as otel

from perdure._telemetry.metrics import MetricAttributes

logger = logging.getLogger("perdure.metrics")
BufferedMetricKind = int
BUFFERED_METRIC_KIND_COUNTER: Final[BufferedMetricKind] = 0
BUFFERED_METRIC_KIND_GAUGE: Final[BufferedMetricKind] = 1
BUFFERED_METRIC_KIND_HISTOGRAM: Final[BufferedMetricKind] = 2
SETS_MAX: Final = 10_000
"""Sets of attributes that are kept as the same object; later ones are objects of their own."""


class MetricBufferDurationFormat(Enum):
    """How durations are given: as whole milliseconds, or as seconds."""

    MILLISECONDS = 1
    SECONDS = 2


class BufferedMetric(Protocol):
    """What was measured; the same object for the same name."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def description(self) -> str | None:
        """What it is."""

    @property
    def unit(self) -> str | None:
        """Its unit; `ms` or `s` for durations, as the buffer was told."""

    @property
    def kind(self) -> BufferedMetricKind:
        """One of the BUFFERED_METRIC_KIND_ numbers."""


class BufferedMetricUpdate(Protocol):
    """A value that was measured."""

    @property
    def metric(self) -> BufferedMetric:
        """Of what."""

    @property
    def value(self) -> int | float:
        """By how much a counter grew; the value itself of gauges and histograms."""

    @property
    def attributes(self) -> MetricAttributes:
        """Of whom; the same object for the same attributes."""


@dataclass(frozen=True)
class _Metric:
    name: str
    description: str | None
    unit: str | None
    kind: BufferedMetricKind


@dataclass(frozen=True)
class _Update:
    metric: BufferedMetric
    value: int | float
    attributes: MetricAttributes


class MetricBuffer:
    """Keeps what is measured in this process; give it to a runtime as its metrics.

    What the engine only knows when it is asked, such as slots, is asked of it when updates are
    retrieved. Retrieve them often: a buffer that is full drops what comes, and says so.

    Args:
        buffer_size: How many updates are kept.
        duration_format: How durations are given.

    Example:
        buffer = MetricBuffer(10_000)
        runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
        for update in buffer.retrieve_updates(): ...
    """

    def __init__(
        self,
        buffer_size: int,
        duration_format: MetricBufferDurationFormat = MetricBufferDurationFormat.MILLISECONDS,
    ) -> None:
        if buffer_size < 1:
            raise ValueError(f"buffer_size is {buffer_size}: give at least 1")
        self._size = buffer_size
        self._in_ms = duration_format == MetricBufferDurationFormat.MILLISECONDS
        self._lock = threading.Lock()
        self._updates: list[BufferedMetricUpdate] = []
        self._metrics: dict[str, _Metric] = {}
        self._sets: dict[frozenset[tuple[str, Any]], MetricAttributes] = {}
        self._tags: Mapping[str, Any] | None = None
        self._asked: list[Callable[[], None]] = []
        self._is_full = False

    def retrieve_updates(self) -> Sequence[BufferedMetricUpdate]:
        """What was measured since the last call, in its order.

        Raises RuntimeError when the buffer is no runtime's.
        """
        if self._tags is None:
            raise RuntimeError("the buffer was given to no runtime: nothing comes into it")
        for ask in list(self._asked):
            ask()
        with self._lock:
            found, self._updates, self._is_full = self._updates, [], False
        return found

    def _bind(self, tags: Mapping[str, Any]) -> otel.MeterProvider:
        """The provider of the meters whose values come here. Raises RuntimeError for a second."""
        if self._tags is not None:
            raise RuntimeError("the buffer is another runtime's already")
        self._tags = dict(tags)
        return _Provider(self)

    def metric(self, name: str, description: str, unit: str, kind: BufferedMetricKind) -> _Metric:
        """What is measured under a name."""
        shown = "ms" if unit == "s" and self._in_ms else unit
        with self._lock:
            made = _Metric(name, description or None, shown or None, kind)
            return self._metrics.setdefault(name, made)

    def put(self, metric: _Metric, value: float, attributes: Mapping[str, Any] | None) -> None:
        """Keep a value, unless there is no room."""
        given: int | float = round(value * 1000) if metric.unit == "ms" else value
        with self._lock:
            if len(self._updates) >= self._size:
                if not self._is_full:
                    logger.warning("the metric buffer is full: what is measured now is dropped")
                self._is_full = True
                return
            self._updates.append(_Update(metric, given, self._of({**(attributes or {})})))

    def _of(self, attributes: dict[str, Any]) -> MetricAttributes:
        whole = {**(self._tags or {}), **attributes}
        try:
            key = frozenset(whole.items())
        except TypeError:
            return whole
        found = self._sets.get(key)
        if found is None:
            found = whole
            if len(self._sets) < SETS_MAX:
                self._sets[key] = whole
        return found

    def ask(self, question: Callable[[], None]) -> None:
        """Call this before updates are retrieved."""
        self._asked.append(question)


class _Provider(otel.MeterProvider):
    def __init__(self, buffer: MetricBuffer) -> None:
        self._buffer = buffer

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> otel.Meter:
        return _Meter(self._buffer, name, version, schema_url)


Callbacks = Sequence[
    Callable[[otel.CallbackOptions], Iterable[otel.Observation]]
    | Generator[Iterable[otel.Observation], otel.CallbackOptions, None]
]


class _Meter(otel.Meter):
    def __init__(
        self, buffer: MetricBuffer, name: str, version: str | None, schema_url: str | None
    ) -> None:
        super().__init__(name, version=version, schema_url=schema_url)
        self._buffer = buffer

    def create_counter(self, name: str, unit: str = "", description: str = "") -> otel.Counter:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_COUNTER)
        return _Counter(self._buffer, metric)

    def create_up_down_counter(
        self, name: str, unit: str = "", description: str = ""
    ) -> otel.UpDownCounter:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_GAUGE)
        return _UpDownCounter(self._buffer, metric)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> otel.Histogram:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_HISTOGRAM)
        return _Histogram(self._buffer, metric)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Any:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_GAUGE)
        return _Gauge(self._buffer, metric)

    def create_observable_counter(
        self,
        name: str,
        callbacks: Callbacks | None = None,
        unit: str = "",
        description: str = "",
    ) -> otel.ObservableCounter:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_COUNTER)
        self._buffer.ask(_Grown(self._buffer, metric, callbacks or ()))
        return otel.NoOpMeter("").create_observable_counter(name)

    def create_observable_gauge(
        self,
        name: str,
        callbacks: Callbacks | None = None,
        unit: str = "",
        description: str = "",
    ) -> otel.ObservableGauge:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_GAUGE)
        self._buffer.ask(_Standing(self._buffer, metric, callbacks or ()))
        return otel.NoOpMeter("").create_observable_gauge(name)

    def create_observable_up_down_counter(
        self,
        name: str,
        callbacks: Callbacks | None = None,
        unit: str = "",
        description: str = "",
    ) -> otel.ObservableUpDownCounter:
        metric = self._buffer.metric(name, description, unit, BUFFERED_METRIC_KIND_GAUGE)
        self._buffer.ask(_Standing(self._buffer, metric, callbacks or ()))
        return otel.NoOpMeter("").create_observable_up_down_counter(name)


class _Kept:
    def __init__(self, buffer: MetricBuffer, metric: _Metric) -> None:
        self._buffer = buffer
        self._metric = metric

    def _put(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        self._buffer.put(self._metric, amount, attributes)


class _Counter(_Kept, otel.Counter):
    add = _Kept._put


class _Histogram(_Kept, otel.Histogram):
    record = _Kept._put


class _Gauge(_Kept, otel._Gauge):
    set = _Kept._put


class _UpDownCounter(_Kept, otel.UpDownCounter):
    """Given as it stands, because a sum of differences is nothing that a buffer's reader has."""

    def __init__(self, buffer: MetricBuffer, metric: _Metric) -> None:
        super().__init__(buffer, metric)
        self._sums: dict[frozenset[tuple[str, Any]], float] = {}
        self._lock = threading.Lock()

    def add(self, amount: float, attributes: Any = None, context: Any = None) -> None:
        key = frozenset((attributes or {}).items())
        with self._lock:
            self._sums[key] = total = self._sums.get(key, 0) + amount
        self._put(total, attributes)


class _Standing(_Kept):
    """What is asked for, given as it stands."""

    def __init__(self, buffer: MetricBuffer, metric: _Metric, callbacks: Callbacks) -> None:
        super().__init__(buffer, metric)
        self._callbacks = callbacks

    def __call__(self) -> None:
        options = otel.CallbackOptions()
        for callback in self._callbacks:
            found = callback.send(options) if isinstance(callback, Generator) else callback(options)
            for one in found:
                self._observed(one.value, one.attributes)

    def _observed(self, value: float, attributes: Any) -> None:
        self._put(value, attributes)


class _Grown(_Standing):
    """The same, given by how much it grew."""

    def __init__(self, buffer: MetricBuffer, metric: _Metric, callbacks: Callbacks) -> None:
        super().__init__(buffer, metric, callbacks)
        self._last: dict[frozenset[tuple[str, Any]], float] = {}

    def _observed(self, value: float, attributes: Any) -> None:
        key = frozenset((attributes or {}).items())
        grown = value - self._last.get(key, 0)
        self._last[key] = value
        if grown:
            self._put(grown, attributes)
