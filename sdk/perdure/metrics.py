"""The meter that user code counts and measures with: interfaces, and the meter of nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

MetricAttributes = Mapping[str, str | int | float | bool]


class MetricCommon:
    """What every instrument has."""

    def __init__(self, name: str, description: str | None = None, unit: str | None = None) -> None:
        self.name = name
        self.description = description
        self.unit = unit


class MetricCounter(MetricCommon, ABC):
    """A number that only grows."""

    @abstractmethod
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Count some more."""


class MetricHistogram(MetricCommon, ABC):
    """A distribution of whole numbers."""

    @abstractmethod
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Add a value."""


class MetricHistogramFloat(MetricCommon, ABC):
    """A distribution of numbers."""

    @abstractmethod
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Add a value."""


class MetricHistogramTimedelta(MetricCommon, ABC):
    """A distribution of durations."""

    @abstractmethod
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        """Add a value."""


class MetricGauge(MetricCommon, ABC):
    """A whole number as it stands."""

    @abstractmethod
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Say how it stands."""


class MetricGaugeFloat(MetricCommon, ABC):
    """A number as it stands."""

    @abstractmethod
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Say how it stands."""


class MetricMeter(ABC):
    """Makes instruments."""

    noop: ClassVar[MetricMeter]

    @abstractmethod
    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        """A number that only grows."""

    @abstractmethod
    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        """A distribution of whole numbers."""

    @abstractmethod
    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        """A distribution of numbers."""

    @abstractmethod
    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        """A distribution of durations."""

    @abstractmethod
    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        """A whole number as it stands."""

    @abstractmethod
    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        """A number as it stands."""

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        """A meter whose instruments carry these attributes too."""


class _Nothing(MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Count nothing."""


class _NothingRecorded(MetricHistogram, MetricHistogramFloat, MetricHistogramTimedelta):
    def record(
        self,
        value: float | timedelta,
        additional_attributes: MetricAttributes | None = None,
    ) -> None:
        """Add nothing."""


class _NothingSet(MetricGauge, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Say nothing."""


class _NoMeter(MetricMeter):
    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return _Nothing(name, description, unit)

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        return _NothingRecorded(name, description, unit)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _NothingRecorded(name, description, unit)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _NothingRecorded(name, description, unit)

    def create_gauge(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGauge:
        return _NothingSet(name, description, unit)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _NothingSet(name, description, unit)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return self


MetricMeter.noop = _NoMeter()
