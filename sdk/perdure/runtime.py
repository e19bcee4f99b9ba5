"""Telemetry set up in code, under Temporal's names: metrics out of this process, and its logs.

Metrics and spans are OpenTelemetry's, and a process has them once; so a runtime that asks for
metrics sets the process up, whoever was given it. Setting up by variables (OTEL_...) does the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final

from opentelemetry import metrics as otel_metrics

from perdure._telemetry.environment import INSTALL, TelemetryError, has_meter_provider
from perdure._telemetry.meters import OpenTelemetryMeter
from perdure._telemetry.metric_buffer import (
    BUFFERED_METRIC_KIND_COUNTER,
    BUFFERED_METRIC_KIND_GAUGE,
    BUFFERED_METRIC_KIND_HISTOGRAM,
    BufferedMetric,
    BufferedMetricKind,
    BufferedMetricUpdate,
    MetricBuffer,
    MetricBufferDurationFormat,
)
from perdure._telemetry.metrics import MetricMeter

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader

__all__ = [
    "BUFFERED_METRIC_KIND_COUNTER",
    "BUFFERED_METRIC_KIND_GAUGE",
    "BUFFERED_METRIC_KIND_HISTOGRAM",
    "BufferedMetric",
    "BufferedMetricKind",
    "BufferedMetricUpdate",
    "LogForwardingConfig",
    "LoggingConfig",
    "LoggingFormat",
    "MetricBuffer",
    "MetricBufferDurationFormat",
    "OpenTelemetryConfig",
    "OpenTelemetryMetricTemporality",
    "PrometheusConfig",
    "Runtime",
    "TelemetryConfig",
    "TelemetryFilter",
]

SET_UP: Final = "metrics of this process are set up already"
PERIOD_DEFAULT: Final = timedelta(seconds=60)
_LEVELS: Final = {"TRACE": "DEBUG", "WARN": "WARNING", "OFF": "CRITICAL"}


@dataclass(frozen=True)
class TelemetryFilter:
    """From which level on is logged: by the engine, and by the libraries beneath it."""

    core_level: str
    other_level: str

    def formatted(self) -> str:
        """As one text."""
        return f"{self.other_level},perdure={self.core_level}"


class LoggingFormat(Enum):
    """How lines would look. Without effect: the handlers of `logging` say it."""

    COMPACT = "compact"
    JSON = "json"
    PRETTY = "pretty"


@dataclass
class LogForwardingConfig:
    """To which logger the engine's records go as well."""

    logger: logging.Logger
    append_target_to_name: bool = True
    prepend_target_on_message: bool = True
    overwrite_log_record_time: bool = True
    append_log_fields_to_message: bool = True
    """All but the logger are without effect: the records are those of `logging` from the start."""


@dataclass(frozen=True)
class LoggingConfig:
    """What the engine logs, and where to."""

    filter: TelemetryFilter | str
    forwarding: LogForwardingConfig | None = None
    format: LoggingFormat | None = None
    default: ClassVar[LoggingConfig]


LoggingConfig.default = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"))


class OpenTelemetryMetricTemporality(Enum):
    """Whether a sum is what it is since the start, or since the last report."""

    CUMULATIVE = 1
    DELTA = 2


@dataclass(frozen=True)
class OpenTelemetryConfig:
    """Metrics sent to a collector over OTLP and HTTP. Needs the extra `telemetry`."""

    url: str
    headers: Mapping[str, str] | None = None
    metric_periodicity: timedelta | None = None
    metric_temporality: OpenTelemetryMetricTemporality = OpenTelemetryMetricTemporality.CUMULATIVE
    durations_as_seconds: bool = False
    """Without effect: durations are seconds."""
    http: bool = False
    """Without effect: HTTP is what is spoken."""
    histogram_bucket_overrides: Mapping[str, Sequence[float]] | None = None
    """The bounds of histograms by the names of their instruments."""


@dataclass(frozen=True)
class PrometheusConfig:
    """Metrics to be read by Prometheus from an address. Needs the extra `telemetry`."""

    bind_address: str
    counters_total_suffix: bool = False
    unit_suffix: bool = False
    durations_as_seconds: bool = False
    """These are without effect: names are as OpenTelemetry writes them, durations are seconds."""
    histogram_bucket_overrides: Mapping[str, Sequence[float]] | None = None
    """The bounds of histograms by the names of their instruments."""


@dataclass(frozen=True)
class TelemetryConfig:
    """What a process tells of itself."""

    logging: LoggingConfig | None = LoggingConfig.default
    metrics: OpenTelemetryConfig | PrometheusConfig | MetricBuffer | None = None
    global_tags: Mapping[str, str] = field(default_factory=dict)
    """Attributes of the resource that the metrics are of."""
    attach_service_name: bool = True
    metric_prefix: str | None = None
    """Both are without effect: OTEL_SERVICE_NAME and OpenTelemetry's names hold."""


class Runtime:
    """The telemetry of this process.

    Args:
        telemetry: What to tell, and whom.
        worker_heartbeat_interval: Without effect: leases say that workers live.
        disable_environment_info: Without effect: nothing is told that is not asked for.

    Raises:
        ValueError: For a level or an address that there is not, or metrics set up twice.
        RuntimeError: For a buffer of another runtime.
        TelemetryError: When what it needs is not installed.
    """

    _default: ClassVar[Runtime | None] = None
    _is_prevented: ClassVar[bool] = False

    def __init__(
        self,
        *,
        telemetry: TelemetryConfig,
        worker_heartbeat_interval: timedelta | None = PERIOD_DEFAULT,
        disable_environment_info: bool = False,
    ) -> None:
        self._telemetry = telemetry
        if telemetry.logging is not None:
            _set_logging(telemetry.logging)
        if isinstance(telemetry.metrics, MetricBuffer):
            _fill(telemetry.metrics, telemetry.global_tags)
        elif telemetry.metrics is not None:
            _set_metrics(telemetry.metrics, telemetry.global_tags)

    @staticmethod
    def default() -> Runtime:
        """The process's runtime; one that tells nothing where none was set.

        Raises RuntimeError after prevent_default.
        """
        if Runtime._default is None:
            if Runtime._is_prevented:
                raise RuntimeError("there is no default runtime, and making one was prevented")
            Runtime._default = Runtime(telemetry=TelemetryConfig(logging=None))
        return Runtime._default

    @staticmethod
    def prevent_default() -> None:
        """Let nobody make the default runtime by asking for it.

        Raises RuntimeError when somebody has.
        """
        if Runtime._default is not None:
            raise RuntimeError("the default runtime was made already")
        Runtime._is_prevented = True

    @staticmethod
    def set_default(runtime: Runtime, *, error_if_already_set: bool = True) -> None:
        """Make a runtime the process's. Raises RuntimeError when there is one."""
        if Runtime._default is not None and error_if_already_set:
            raise RuntimeError("there is a default runtime already")
        Runtime._default = runtime

    @property
    def metric_meter(self) -> MetricMeter:
        """A meter for metrics of the process's own."""
        return OpenTelemetryMeter(dict(self._telemetry.global_tags))


def _set_logging(config: LoggingConfig) -> None:
    told = config.filter
    level = told.core_level if isinstance(told, TelemetryFilter) else told
    name = _LEVELS.get(level.upper(), level.upper())
    if name not in logging.getLevelNamesMapping():
        raise ValueError(f"{level!r} is no level: give TRACE, DEBUG, INFO, WARN, ERROR or OFF")
    engine = logging.getLogger("perdure")
    engine.setLevel(name)
    if config.forwarding is not None:
        engine.addHandler(_Forwarding(config.forwarding.logger))


class _Forwarding(logging.Handler):
    """Hands records on to a logger."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one on."""
        if self._logger.isEnabledFor(record.levelno):
            self._logger.handle(record)


def _fill(buffer: MetricBuffer, tags: Mapping[str, str]) -> None:
    provider = buffer._bind(tags)
    if has_meter_provider():
        raise ValueError(SET_UP)
    otel_metrics.set_meter_provider(provider)


def _set_metrics(config: OpenTelemetryConfig | PrometheusConfig, tags: Mapping[str, str]) -> None:
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
        from opentelemetry.sdk.resources import Resource

        if has_meter_provider():
            raise ValueError(SET_UP)
        reader = _prometheus(config) if isinstance(config, PrometheusConfig) else _otlp(config)
    except ImportError as error:
        raise TelemetryError(f"metrics need what is not installed: {INSTALL}") from error
    views = [
        View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(tuple(bounds)))
        for name, bounds in (config.histogram_bucket_overrides or {}).items()
    ]
    otel_metrics.set_meter_provider(
        MeterProvider([reader], resource=Resource.create(dict(tags)), views=views)
    )


def _prometheus(config: PrometheusConfig) -> MetricReader:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import start_http_server

    host, _, port = config.bind_address.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"bind_address is {config.bind_address!r}: give host:port")
    reader = PrometheusMetricReader()
    start_http_server(int(port), addr=host or "127.0.0.1")
    return reader


def _otlp(config: OpenTelemetryConfig) -> MetricReader:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk import metrics as sdk
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        PeriodicExportingMetricReader,
    )

    is_delta = config.metric_temporality == OpenTelemetryMetricTemporality.DELTA
    kinds = (sdk.Counter, sdk.Histogram, sdk.ObservableCounter)
    temporality: dict[type, AggregationTemporality] = (
        dict.fromkeys(kinds, AggregationTemporality.DELTA) if is_delta else {}
    )
    path = "" if config.url.rstrip("/").endswith("/v1/metrics") else "/v1/metrics"
    exporter = OTLPMetricExporter(
        endpoint=config.url.rstrip("/") + path,
        headers=dict(config.headers or {}),
        preferred_temporality=temporality,
    )
    period = config.metric_periodicity or PERIOD_DEFAULT
    return PeriodicExportingMetricReader(
        exporter, export_interval_millis=period.total_seconds() * 1000
    )
