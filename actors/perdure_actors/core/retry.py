"""Whether and when a failed attempt is tried again: policies as arithmetic, nothing else."""

from __future__ import annotations

from perdure_schemas.payloads import Failure, FailureCause, RetryPolicy

DEFAULT_POLICY = RetryPolicy()
DELAY_MS_MAX = 365 * 24 * 3600 * 1000
IN_PROGRESS = "in_progress"
NON_RETRYABLE = "non_retryable_failure"
TIMEOUT = "timeout"
ATTEMPTS_REACHED = "maximum_attempts_reached"
NOT_SET = "retry_policy_not_set"
CANCEL_REQUESTED = "cancel_requested"
OPERATOR = "operator"
"""Somebody failed it; users see no state of the retry policy."""
EXHAUSTED = (ATTEMPTS_REACHED, TIMEOUT)
_RETRIED_TIMEOUTS = ("start_to_close", "heartbeat")


def backoff_ms(policy: RetryPolicy, attempt: int) -> int:
    """The wait after an attempt failed (the first is 1), by the policy alone."""
    initial = max(policy.initial_interval_ms, 1)
    cap = policy.maximum_interval_ms if policy.maximum_interval_ms > 0 else initial * 100
    # In this order a coefficient that is no number counts as 1; the wire can carry one.
    coefficient = max(1.0, policy.backoff_coefficient)
    try:
        wait = initial * coefficient ** max(attempt - 1, 0)
    except OverflowError:
        wait = cap
    return int(min(wait, cap, DELAY_MS_MAX))


def is_retryable(failure: Failure, policy: RetryPolicy) -> bool:
    """Whether a failure may be tried again at all."""
    outer = failure.chain[0] if failure.chain else FailureCause()
    if outer.kind in ("canceled", "terminated"):
        return False
    if outer.kind == "timeout":
        return outer.timeout_type in _RETRIED_TIMEOUTS
    return not outer.non_retryable and outer.type not in policy.non_retryable_error_types


def plan_retry(
    policy: RetryPolicy, failure: Failure, *, attempt: int, now_ms: int, expires_ms: int
) -> tuple[str, int]:
    """What follows a failed attempt: (in_progress, delay in ms), or why nothing does and -1.

    expires_ms is when all attempts must be over; 0 when there is no such time.
    """
    if not is_retryable(failure, policy):
        return NON_RETRYABLE, -1
    if policy.maximum_attempts and attempt >= policy.maximum_attempts:
        return ATTEMPTS_REACHED, -1
    asked = failure.chain[0].next_retry_delay_ms if failure.chain else -1
    delay = min(asked, DELAY_MS_MAX) if asked >= 0 else backoff_ms(policy, attempt)
    if expires_ms and now_ms + delay >= expires_ms:
        return TIMEOUT, -1
    return IN_PROGRESS, delay
