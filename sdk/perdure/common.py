"""Types that workflows, activities and clients share: policies, priorities, raw values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import ClassVar

from perdure._search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeUpdate,
    SearchAttributeValue,
    SearchAttributeValueType,
    TypedSearchAttributes,
)
from perdure._telemetry.metrics import (
    MetricCommon,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)
from perdure.api.common.v1 import Payload
from perdure.api.common.v1 import RetryPolicy as ProtoRetryPolicy
from perdure.converter._payload_codecs import payload_of, payload_record
from perdure_schemas.payloads import Payload as Record

__all__ = [
    "HeaderCodecBehavior",
    "MetricCommon",
    "MetricCounter",
    "MetricGauge",
    "MetricGaugeFloat",
    "MetricHistogram",
    "MetricHistogramFloat",
    "MetricHistogramTimedelta",
    "MetricMeter",
    "Priority",
    "QueryRejectCondition",
    "RawValue",
    "RetryPolicy",
    "SearchAttributeIndexedValueType",
    "SearchAttributeKey",
    "SearchAttributePair",
    "SearchAttributeUpdate",
    "SearchAttributeValue",
    "SearchAttributeValueType",
    "SearchAttributes",
    "TypedSearchAttributes",
    "VersioningBehavior",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
]

FAIRNESS_KEY_BYTES_MAX = 64


@dataclass
class RetryPolicy:
    """How often and how soon a failed attempt is tried again."""

    initial_interval: timedelta = timedelta(seconds=1)
    """The delay before the second attempt."""
    backoff_coefficient: float = 2.0
    """By what each further delay grows."""
    maximum_interval: timedelta | None = None
    """The longest delay; a hundred times the initial one when not given."""
    maximum_attempts: int = 0
    """How many attempts there may be; 0 for no limit, 1 for no retry."""
    non_retryable_error_types: Sequence[str] | None = None
    """Types of errors that end the attempts."""

    @staticmethod
    def from_proto(proto: ProtoRetryPolicy) -> RetryPolicy:
        """The policy of a message: of `perdure.api`, or protobuf's own."""
        longest = proto.maximum_interval.ToTimedelta()
        return RetryPolicy(
            initial_interval=proto.initial_interval.ToTimedelta(),
            backoff_coefficient=proto.backoff_coefficient,
            maximum_interval=longest or None,
            maximum_attempts=proto.maximum_attempts,
            non_retryable_error_types=list(proto.non_retryable_error_types) or None,
        )

    def apply_to_proto(self, proto: ProtoRetryPolicy) -> None:
        """Say the policy in a message. Raises ValueError for one that cannot be followed."""
        self._validate()
        proto.initial_interval.FromTimedelta(self.initial_interval)
        proto.backoff_coefficient = self.backoff_coefficient
        proto.maximum_interval.FromTimedelta(self.maximum_interval or self.initial_interval * 100)
        proto.maximum_attempts = self.maximum_attempts
        proto.non_retryable_error_types.extend(self.non_retryable_error_types or ())

    def _validate(self) -> None:
        """Raise ValueError for a policy that cannot be followed, TypeError for types by class."""
        for kind in self.non_retryable_error_types or ():
            if not isinstance(kind, str):
                raise TypeError(
                    f"non_retryable_error_types has {kind!r}: give the names of types, such as"
                    ' "ValueError"'
                )
        if self.maximum_attempts < 0:
            raise ValueError(f"maximum_attempts is {self.maximum_attempts}: give 0 or more")
        if self.maximum_attempts == 1:
            return
        if self.initial_interval <= timedelta(0):
            raise ValueError(f"initial_interval is {self.initial_interval}: give more than 0")
        if not self.backoff_coefficient >= 1:
            raise ValueError(f"backoff_coefficient is {self.backoff_coefficient}: give 1 or more")
        if self.maximum_interval is not None and self.maximum_interval < self.initial_interval:
            raise ValueError(
                f"maximum_interval ({self.maximum_interval}) is shorter than initial_interval "
                f"({self.initial_interval})"
            )


@dataclass(frozen=True)
class Priority:
    """Which task goes first when workers are busy."""

    priority_key: int | None = None
    """1 goes first, 5 last; 3 when not given."""
    fairness_key: str | None = None
    """Tasks of different keys take turns."""
    fairness_weight: float | None = None
    """How many turns a key has."""

    default: ClassVar[Priority]

    def __post_init__(self) -> None:
        if self.priority_key is not None and not isinstance(self.priority_key, int):
            raise TypeError(f"priority_key is a {type(self.priority_key).__name__}: give an int")
        if self.priority_key is not None and self.priority_key < 1:
            raise ValueError(f"priority_key is {self.priority_key}: give 1 or more")
        if len((self.fairness_key or "").encode()) > FAIRNESS_KEY_BYTES_MAX:
            raise ValueError(f"fairness_key has more than {FAIRNESS_KEY_BYTES_MAX} bytes")


Priority.default = Priority()


class WorkflowIDReusePolicy(IntEnum):
    """What a start does when a closed run has its id."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4


class WorkflowIDConflictPolicy(IntEnum):
    """What a start does when an open run has its id."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class QueryRejectCondition(IntEnum):
    """Which runs refuse a query."""

    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class HeaderCodecBehavior(IntEnum):
    """Whether headers go through the payload codec as well."""

    NO_CODEC = 1
    """Nowhere: they can be read by all that reads the log."""
    CODEC = 2
    """Everywhere."""
    WORKFLOW_ONLY_CODEC = 3
    """In workers, and not in the client's own calls."""


class VersioningBehavior(IntEnum):
    """Whether a run stays with the version of the code that it began on."""

    UNSPECIFIED = 0
    PINNED = 1
    AUTO_UPGRADE = 2


@dataclass(frozen=True)
class RawValue:
    """A value left as the payload it came in."""

    payload: Payload

    __perdure_raw__: ClassVar[bool] = True
    """How the rooms below, which cannot name this class, know it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "payload", payload_of(self.payload))

    def __perdure_record__(self) -> Record:
        return payload_record(self.payload)
