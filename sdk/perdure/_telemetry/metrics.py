"""Interfaces of the meter of user code, and a meter that measures nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Self

MetricAttributes = Mapping[str, str | int | float | bool]


class MetricCommon(ABC):
    """What every instrument has."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name."""

    @property
    @abstractmethod
    def description(self) -> str | None:
        """What it measures, if that was said."""

    @property
    @abstractmethod
    def unit(self) -> str | None:
        """In what, if that was said."""

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        """The same instrument, with these attributes too."""


class Named(MetricCommon):
    """What the instruments of meters here are called."""

    def __init__(self, name: str, description: str | None = None, unit: str | None = None) -> None:
        self._name = name
        self._description = description
        self._unit = unit

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def description(self) -> str | None:
        """What it measures, if that was said."""
        return self._description

    @property
    def unit(self) -> str | None:
        """In what, if that was said."""
        return self._unit


class _Silent(Named):
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        """The same: it measures nothing of anyone."""
        return self


class MetricCounter(MetricCommon):
    """A number that only grows."""

    @abstractmethod
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Count some more."""


class MetricHistogram(MetricCommon):
    """A distribution of whole numbers."""

    @abstractmethod
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Add a value."""


class MetricHistogramFloat(MetricCommon):
    """A distribution of numbers."""

    @abstractmethod
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Add a value."""


class MetricHistogramTimedelta(MetricCommon):
    """A distribution of durations."""

    @abstractmethod
    def record(
        self, value: timedelta, additional_attributes: MetricAttributes | None = None
    ) -> None:
        """Add a value."""


class MetricGauge(MetricCommon):
    """A whole number as it stands."""

    @abstractmethod
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Say how it stands."""


class MetricGaugeFloat(MetricCommon):
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


class _Nothing(_Silent, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Count nothing."""


class _NothingRecorded(_Silent, MetricHistogram, MetricHistogramFloat, MetricHistogramTimedelta):
    def record(
        self,
        value: float | timedelta,
        additional_attributes: MetricAttributes | None = None,
    ) -> None:
        """Add nothing."""


class _NothingSet(_Silent, MetricGauge, MetricGaugeFloat):
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
