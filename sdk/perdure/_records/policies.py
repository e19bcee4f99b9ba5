"""Policies and durations as records, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from perdure.common import Priority, RetryPolicy
from perdure_actors.definitions.signatures import Signature
from perdure_schemas import payloads
from perdure_schemas.converters import DefaultPayloadConverter, PayloadConverter

_SECOND_MS = 1000
_DAY_S = 86_400


def milliseconds(duration: timedelta | None, name: str) -> int:
    """A duration as records hold it: 0 for none, and never rounded down to none.

    Raises ValueError for a negative one, TypeError for one that is no timedelta.
    """
    if duration is None:
        return 0
    if not isinstance(duration, timedelta):
        raise TypeError(f"{name} is a {type(duration).__name__}: give a timedelta")
    if duration.days < 0:
        raise ValueError(f"{name} is negative ({duration}): give a positive timedelta")
    seconds = duration.days * _DAY_S + duration.seconds
    return seconds * _SECOND_MS - -duration.microseconds // _SECOND_MS


def duration_of(milliseconds: int) -> timedelta | None:
    """The duration of a record's milliseconds, None for 0."""
    return timedelta(milliseconds=milliseconds) if milliseconds else None


def time_of(milliseconds: int) -> datetime:
    """The point in time of a record's milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / _SECOND_MS, UTC)


def retry_record(policy: RetryPolicy | None) -> payloads.RetryPolicy | None:
    """A retry policy as records hold it.

    Raises ValueError for one that cannot be followed.
    """
    if policy is None:
        return None
    policy._validate()
    return payloads.RetryPolicy(
        initial_interval_ms=milliseconds(policy.initial_interval, "initial_interval"),
        backoff_coefficient=float(policy.backoff_coefficient),
        maximum_interval_ms=milliseconds(policy.maximum_interval, "maximum_interval"),
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=list(policy.non_retryable_error_types or ()),
    )


def retry_policy_of(record: payloads.RetryPolicy | None) -> RetryPolicy | None:
    """The retry policy of a record."""
    if record is None:
        return None
    return RetryPolicy(
        initial_interval=timedelta(milliseconds=record.initial_interval_ms),
        backoff_coefficient=record.backoff_coefficient,
        maximum_interval=duration_of(record.maximum_interval_ms),
        maximum_attempts=record.maximum_attempts,
        non_retryable_error_types=list(record.non_retryable_error_types) or None,
    )


def priority_record(priority: Priority) -> payloads.Priority | None:
    """A priority as records hold it, None for the default."""
    if priority is Priority.default or priority == Priority.default:
        return None
    return payloads.Priority(
        priority_key=priority.priority_key or 0,
        fairness_key=priority.fairness_key or "",
        fairness_weight=priority.fairness_weight or 0.0,
    )


def priority_of(record: payloads.Priority | None) -> Priority:
    """The priority of a record."""
    if record is None:
        return Priority.default
    return Priority(
        priority_key=record.priority_key or None,
        fairness_key=record.fairness_key or None,
        fairness_weight=record.fairness_weight or None,
    )


def payloads_for(
    what: str, values: Sequence[Any], converter: PayloadConverter, names: Sequence[str] = ()
) -> list[payloads.Payload]:
    """Arguments as payloads. Raises TypeError or ValueError that begin with what they are for."""
    try:
        return converter.to_payloads(values, names=names)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what}: {error}") from error


def arguments_for(
    what: str,
    values: Sequence[Any],
    converter: PayloadConverter,
    signature: Signature | None,
    *,
    is_read: bool = True,
) -> list[payloads.Payload]:
    """Arguments as payloads, read back as the function that takes them will read them.

    Raises TypeError or ValueError that begin with what they are for. Without a signature, or with
    `is_read` False, only what cannot be written is refused.
    """
    written = payloads_for(what, values, converter, signature.names if signature else ())
    if signature is not None and is_read:
        signature.check_count(len(written), what=what)
        # A converter of the user's may write what only the other side can read.
        if isinstance(converter, DefaultPayloadConverter):
            signature.read(written, converter, what=what)
    return written


def payload_mapping(
    values: Mapping[str, Any] | None, converter: PayloadConverter, what: str
) -> dict[str, payloads.Payload]:
    """Named values as payloads.

    Raises TypeError or ValueError, naming the value, for one that cannot be written.
    """
    if not values:
        return {}
    names = [f"the {what} {key!r}" for key in values]
    found = converter.to_payloads(list(values.values()), names=names)
    return dict(zip(values, found, strict=True))
