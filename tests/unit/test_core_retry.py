"""Retry policies are arithmetic: every line of it, and never a number out of bounds."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_actors.core.retry import DELAY_MS_MAX, backoff_ms, plan_retry
from perdure_schemas.payloads import Failure, FailureCause, RetryPolicy


def failure(**fields: object) -> Failure:
    return Failure(chain=[FailureCause(**fields)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "attempt", "wait_ms"),
    [
        (RetryPolicy(), 1, 1_000),
        (RetryPolicy(), 2, 2_000),
        (RetryPolicy(), 4, 8_000),
        (RetryPolicy(), 8, 100_000),
        (RetryPolicy(), 100_000, 100_000),
        (RetryPolicy(maximum_interval_ms=3_000), 3, 3_000),
        (RetryPolicy(backoff_coefficient=1.0), 9, 1_000),
        (RetryPolicy(backoff_coefficient=1.5, initial_interval_ms=10), 3, 22),
        (RetryPolicy(initial_interval_ms=0), 1, 1),
        (RetryPolicy(backoff_coefficient=0.5), 9, 1_000),
        (RetryPolicy(backoff_coefficient=-3.0), 2, 1_000),
        (RetryPolicy(backoff_coefficient=nan), 2, 1_000),
        (RetryPolicy(backoff_coefficient=inf), 2, 100_000),
        (RetryPolicy(maximum_interval_ms=-5), 2, 2_000),
        (RetryPolicy(initial_interval_ms=DELAY_MS_MAX * 9), 1, DELAY_MS_MAX),
    ],
)
def test_back_off(policy: RetryPolicy, attempt: int, wait_ms: int) -> None:
    assert backoff_ms(policy, attempt) == wait_ms


@pytest.mark.parametrize(
    ("failed", "fields", "expected"),
    [
        (failure(message="x"), {}, ("in_progress", 2_000)),
        (failure(next_retry_delay_ms=7), {}, ("in_progress", 7)),
        (failure(next_retry_delay_ms=0), {}, ("in_progress", 0)),
        (failure(next_retry_delay_ms=2**62), {}, ("in_progress", DELAY_MS_MAX)),
        (failure(type="Bad"), {}, ("non_retryable_failure", -1)),
        (failure(kind="timeout", timeout_type="start_to_close"), {}, ("in_progress", 2_000)),
        (failure(kind="timeout", timeout_type="heartbeat"), {}, ("in_progress", 2_000)),
        (
            failure(kind="timeout", timeout_type="schedule_to_start"),
            {},
            ("non_retryable_failure", -1),
        ),
        (failure(kind="canceled"), {}, ("non_retryable_failure", -1)),
        (failure(kind="terminated"), {}, ("non_retryable_failure", -1)),
        (failure(non_retryable=True), {}, ("non_retryable_failure", -1)),
        (failure(message="x"), {"attempt": 5}, ("maximum_attempts_reached", -1)),
        (failure(message="x"), {"attempt": 6}, ("maximum_attempts_reached", -1)),
        (failure(message="x"), {"expires_ms": 3_001}, ("in_progress", 2_000)),
        (failure(message="x"), {"expires_ms": 3_000}, ("timeout", -1)),
        (Failure(), {}, ("in_progress", 2_000)),
    ],
)
def test_what_follows_a_failed_attempt(
    failed: Failure, fields: dict[str, int], expected: tuple[str, int]
) -> None:
    policy = RetryPolicy(maximum_attempts=5, non_retryable_error_types=["Bad"])
    made = {"attempt": 2, "now_ms": 1_000, "expires_ms": 0, **fields}

    assert plan_retry(policy, failed, **made) == expected


@given(
    st.integers(-10, 2**62),
    st.floats(),
    st.integers(-(2**62), 2**62),
    st.integers(1, 10**9),
)
def test_a_wait_is_never_out_of_bounds(
    initial_ms: int, coefficient: float, cap_ms: int, attempt: int
) -> None:
    policy = RetryPolicy(
        initial_interval_ms=initial_ms,
        backoff_coefficient=coefficient,
        maximum_interval_ms=cap_ms,
    )

    assert 0 < backoff_ms(policy, attempt) <= DELAY_MS_MAX
