"""Meters of user code on top of OpenTelemetry's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Self, TypeVar

from opentelemetry.metrics import Meter, get_meter

from perdure._telemetry.metrics import (
    MetricAttributes,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
    Named,
)
from perdure_views.metrics import BUCKETS_S

SCOPE: Final = "perdure.user"
INSTRUMENTS_MAX: Final = 1_000
"""Instruments that user code may make in a process; later ones measure nothing."""

Speaks = Callable[[], bool]
B = TypeVar("B", bound="_Bound")
_made: dict[tuple[str, str], Any] = {}


class OpenTelemetryMeter(MetricMeter):
    """Makes instruments of OpenTelemetry that carry the attributes of whoever measures."""

    def __init__(self, attributes: MetricAttributes, *, speaks: Speaks = lambda: True) -> None:
        self._attributes = dict(attributes)
        self._speaks = speaks

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        """A number that only grows."""
        return self._make(_Counter(name, description, unit), "counter")

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        """A distribution of whole numbers."""
        return self._make(_Histogram(name, description, unit), "histogram")

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        """A distribution of numbers."""
        return self._make(_HistogramFloat(name, description, unit), "histogram")

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        """A distribution of durations, in seconds."""
        return self._make(_HistogramTimedelta(name, description, unit or "s"), "seconds")

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        """A whole number as it stands."""
        return self._make(_Gauge(name, description, unit), "gauge")

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        """A number as it stands."""
        return self._make(_GaugeFloat(name, description, unit), "gauge")

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        """A meter whose instruments carry these attributes too."""
        merged = {**self._attributes, **additional_attributes}
        return OpenTelemetryMeter(merged, speaks=self._speaks)

    def _make(self, made: B, how: str) -> B:
        other = _instrument(how, made.name, made.description, made.unit)
        made.bind(other, self._attributes, self._speaks)
        return made


def _instrument(how: str, name: str, description: str | None, unit: str | None) -> Any:
    """An instrument of OpenTelemetry, one for each name; None when there are too many."""
    found = _made.get((how, name))
    if found is None and len(_made) < INSTRUMENTS_MAX:
        meter = get_meter(SCOPE)
        found = _made[how, name] = _create(meter, how, name, description or "", unit or "")
    return found


def _create(meter: Meter, how: str, name: str, description: str, unit: str) -> Any:
    if how == "counter":
        return meter.create_counter(name, unit, description)
    if how == "gauge":
        return meter.create_gauge(name, unit, description)
    buckets = BUCKETS_S if how == "seconds" else None
    return meter.create_histogram(
        name, unit, description, explicit_bucket_boundaries_advisory=buckets
    )


class _Bound(Named):
    """What each of our instruments has of OpenTelemetry's."""

    _other: Any = None
    _attributes: MetricAttributes = {}
    _speaks: Speaks

    def bind(self, other: Any, attributes: MetricAttributes, speaks: Speaks) -> None:
        self._other = other
        self._attributes = attributes
        self._speaks = speaks

    def _say(self, method: str, value: float, additional: MetricAttributes | None) -> None:
        if self._other is not None and self._speaks():
            getattr(self._other, method)(value, {**self._attributes, **(additional or {})})

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        """The same instrument, with these attributes too."""
        made = type(self)(self.name, self.description, self.unit)
        made.bind(self._other, {**self._attributes, **additional_attributes}, self._speaks)
        return made


class _Counter(_Bound, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Count some more. Raises ValueError for a negative value."""
        _not_negative(value)
        self._say("add", value, additional_attributes)


class _Histogram(_Bound, MetricHistogram):
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Add a value. Raises ValueError for a negative one."""
        _not_negative(value)
        self._say("record", value, additional_attributes)


class _HistogramFloat(_Bound, MetricHistogramFloat):
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Add a value. Raises ValueError for a negative one."""
        _not_negative(value)
        self._say("record", value, additional_attributes)


class _HistogramTimedelta(_Bound, MetricHistogramTimedelta):
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        """Add a duration. Raises ValueError for a negative one."""
        seconds = value.total_seconds()
        _not_negative(seconds)
        self._say("record", seconds, additional_attributes)


class _Gauge(_Bound, MetricGauge):
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Say how it stands. Raises ValueError for a negative value."""
        _not_negative(value)
        self._say("set", value, additional_attributes)


class _GaugeFloat(_Bound, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Say how it stands. Raises ValueError for a negative value."""
        _not_negative(value)
        self._say("set", value, additional_attributes)


def _not_negative(value: float) -> None:
    if value < 0:
        raise ValueError(f"{value} is negative: metrics take 0 and more")
