"""Exceptions become failure records and come back as themselves, within bounds."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import pytest

from perdure import exceptions
from perdure_actors.replay.failures import exception_of, failure_of, text_of
from perdure_schemas.avro import decode, encode
from perdure_schemas.bounds import (
    CHAIN_CHARS_MAX,
    LINKS_MAX,
    MESSAGE_CHARS_MAX,
    STACK_CHARS_MAX,
)
from perdure_schemas.commands import FailActivity
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.events import WorkflowFailed
from perdure_schemas.payloads import Failure, FailureCause, Payload

CONVERTER = DefaultPayloadConverter()


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def there_and_back(error: BaseException) -> Any:
    return exception_of(failure_of(error, CONVERTER), CONVERTER)


def activity_error() -> exceptions.ActivityError:
    return exceptions.ActivityError(
        "Activity task failed",
        scheduled_event_id=3,
        started_event_id=4,
        identity="worker-1",
        activity_type="charge",
        activity_id="1",
        retry_state=exceptions.RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )


def child_error() -> exceptions.ChildWorkflowError:
    return exceptions.ChildWorkflowError(
        "Child Workflow execution failed",
        namespace="",
        workflow_id="child-1",
        run_id="run",
        workflow_type="Child",
        initiated_event_id=3,
        started_event_id=0,
        retry_state=None,
    )


ERRORS: list[tuple[exceptions.FailureError, dict[str, Any]]] = [
    (
        exceptions.ApplicationError(
            "no stock",
            {"sku": 7},
            3,
            type="OutOfStock",
            non_retryable=True,
            next_retry_delay=timedelta(seconds=1.5),
            category=exceptions.ApplicationErrorCategory.BENIGN,
        ),
        {
            "details": ({"sku": 7}, 3),
            "type": "OutOfStock",
            "non_retryable": True,
            "next_retry_delay": timedelta(seconds=1.5),
            "category": exceptions.ApplicationErrorCategory.BENIGN,
        },
    ),
    (exceptions.CancelledError("stop", "now"), {"details": ("now",)}),
    (exceptions.TerminatedError("ended", 1), {"details": (1,)}),
    (
        exceptions.TimeoutError(
            "too late", type=exceptions.TimeoutType.HEARTBEAT, last_heartbeat_details=[5]
        ),
        {"type": exceptions.TimeoutType.HEARTBEAT, "last_heartbeat_details": [5]},
    ),
    (exceptions.ServerError("broken", non_retryable=True), {"non_retryable": True}),
    (
        activity_error(),
        {
            "identity": "worker-1",
            "activity_type": "charge",
            "activity_id": "1",
            "retry_state": exceptions.RetryState.MAXIMUM_ATTEMPTS_REACHED,
        },
    ),
    (
        child_error(),
        {"workflow_id": "child-1", "run_id": "run", "workflow_type": "Child", "retry_state": None},
    ),
]


@pytest.mark.parametrize(("error", "facts"), ERRORS, ids=lambda value: type(value).__name__)
def test_each_of_our_errors_comes_back_as_itself(
    error: exceptions.FailureError, facts: dict[str, Any]
) -> None:
    found = there_and_back(raised(error, KeyError("root")))

    assert type(found) is type(error)
    assert found.message == error.message
    assert str(found) == str(error)
    assert {name: getattr(found, name) for name in facts} == facts
    assert isinstance(found.cause, exceptions.ApplicationError)
    assert (found.cause.type, found.cause.message) == ("KeyError", "'root'")
    assert found.failure is not None
    assert found.failure.chain[0].source == "perdure"


def fail_with(number: int) -> None:
    raise ERRORS[number][0]


def test_our_errors_come_home_from_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for number, (error, _) in enumerate(ERRORS):
            found = pool.submit(fail_with, number).exception(timeout=50)

            assert type(found) is type(error)
            assert (str(found), vars(found)) == (str(error), vars(error))


def test_a_foreign_exception_is_known_by_its_class_and_stack() -> None:
    (cause,) = failure_of(raised(LookupError("gone")), CONVERTER).chain

    assert (cause.kind, cause.type, cause.message) == ("application", "LookupError", "gone")
    assert "in raised" in cause.stack_trace
    assert not cause.non_retryable


def test_contexts_are_followed_unless_suppressed() -> None:
    def fail(*, suppress: bool) -> BaseException:
        try:
            try:
                raise KeyError("first")
            except KeyError:
                if suppress:
                    raise ValueError("second") from None
                raise ValueError("second")  # noqa: B904 - the context is what is tested
        except ValueError as caught:
            return caught

    loud, quiet = fail(suppress=False), fail(suppress=True)

    assert [link.type for link in failure_of(loud, CONVERTER).chain] == ["ValueError", "KeyError"]
    assert [link.type for link in failure_of(quiet, CONVERTER).chain] == ["ValueError"]


def test_a_failure_that_was_read_is_passed_on_as_it_was() -> None:
    first = failure_of(raised(ValueError("deep"), raised(KeyError("deeper"))), CONVERTER)
    outer = activity_error()
    outer.__cause__ = exception_of(first, CONVERTER)

    assert failure_of(outer, CONVERTER).chain[1:] == first.chain


def test_a_circle_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert [link.message for link in failure_of(one, CONVERTER).chain] == ["one", "two"]


def test_depth_and_size_are_bounded() -> None:
    error: BaseException = ValueError("x" * 1_000_000)
    for _ in range(50):
        error = raised(ValueError("ü" * 1_000_000), error)

    failure = failure_of(error, CONVERTER)

    assert len(failure.chain) == LINKS_MAX
    assert all(len(link.message) < MESSAGE_CHARS_MAX + 100 for link in failure.chain)
    text = sum(len(link.message) + len(link.stack_trace) for link in failure.chain)
    assert text < CHAIN_CHARS_MAX + LINKS_MAX * 300
    assert failure.chain[0].message.startswith("üüü")


def test_a_deep_stack_keeps_the_frames_nearest_to_the_error() -> None:
    def dive(depth: int) -> None:
        if depth == 0:
            the_very_bottom()
        (evenly if depth % 2 == 0 else dive)(depth - 1)

    def evenly(depth: int) -> None:
        dive(depth - 1)

    def the_very_bottom() -> None:
        raise ValueError("deep")

    try:
        dive(sys.getrecursionlimit() // 2)
    except ValueError as caught:
        stack = failure_of(caught, CONVERTER).chain[0].stack_trace

    assert "the_very_bottom" in stack.splitlines()[-2]
    assert len(stack) < STACK_CHARS_MAX + 100


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "first_line"),
    [
        (ExceptionGroup("g", [ValueError("boom"), KeyError("x")]), "ValueError: boom (and 1 more)"),
        (ExceptionGroup("a", [ExceptionGroup("b", [OSError("disk")])]), "OSError: disk"),
        (AssertionError(), "AssertionError"),
        (Unspeakable(), "Unspeakable, whose text failed with RuntimeError"),
        (exceptions.ApplicationError("m", type="T"), "m"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_first_line_says_the_real_error(error: BaseException, first_line: str) -> None:
    assert first_line in text_of(error).partition("\n")[0]
    assert first_line in failure_of(error, CONVERTER).chain[0].message


def test_the_first_error_of_a_group_is_its_cause() -> None:
    failure = failure_of(BaseExceptionGroup("g", [raised(ValueError("boom"))]), CONVERTER)

    assert [link.type for link in failure.chain] == ["ExceptionGroup", "ValueError"]
    assert "in raised" in failure.chain[1].stack_trace


def test_half_characters_are_spelled_out() -> None:
    failure = failure_of(OSError("no file caf\udce9"), CONVERTER)

    assert failure.chain[0].message == r"no file caf\udce9"
    encode(
        FailActivity(
            workflow_id="w", run_id="r", activity_id="1", attempt=1, token=b"", failure=failure
        )
    )


def test_asyncio_cancellation_is_cancellation() -> None:
    found = there_and_back(asyncio.CancelledError())

    assert isinstance(found, exceptions.CancelledError)
    assert exceptions.is_cancelled_exception(asyncio.CancelledError())
    assert exceptions.is_cancelled_exception(found)


def test_a_step_that_was_cancelled_is_cancellation() -> None:
    canceled, failed = activity_error(), child_error()
    canceled.__cause__ = exceptions.CancelledError()
    failed.__cause__ = ValueError()

    assert exceptions.is_cancelled_exception(canceled)
    assert not exceptions.is_cancelled_exception(failed)
    assert not exceptions.is_cancelled_exception(ValueError())


@pytest.mark.parametrize("kind", ["run", "execution"])
def test_timeouts_of_a_run_are_start_to_close(kind: str) -> None:
    failure = Failure(chain=[FailureCause(kind="timeout", timeout_type=kind, message="m")])

    found = exception_of(failure, CONVERTER)

    assert isinstance(found, exceptions.TimeoutError)
    assert found.type is exceptions.TimeoutType.START_TO_CLOSE


def test_the_record_of_a_failure_reads_as_temporals() -> None:
    links = [FailureCause(message="outer", stack_trace="line 1"), FailureCause(message="inner")]

    found = exception_of(Failure(chain=links), CONVERTER)

    assert isinstance(found, exceptions.FailureError)
    assert found.failure is not None
    assert (found.failure.message, found.failure.stack_trace) == ("outer", "line 1")
    assert found.failure.cause is not None
    assert found.failure.cause.message == "inner"
    assert found.failure.cause.cause is None
    assert (Failure().message, Failure().source, Failure().cause) == ("", "", None)


def test_what_a_newer_release_recorded_still_reads() -> None:
    failure = Failure(
        chain=[
            FailureCause(kind="nexus", message="new", retry_state="new"),
            FailureCause(kind="activity", message="m", retry_state="new"),
            FailureCause(details=[Payload(encoding="new", data=b"?")], message="d"),
        ]
    )

    found = exception_of(failure, CONVERTER)

    assert type(found) is exceptions.FailureError
    assert isinstance(found.cause, exceptions.ActivityError)
    assert found.cause.retry_state is None
    assert isinstance(found.cause.cause, exceptions.ApplicationError)
    assert found.cause.cause.details == (Payload(encoding="new", data=b"?"),)
    assert found.failure == failure


def test_a_failure_without_links_still_says_something() -> None:
    assert "no failure was recorded" in str(exception_of(Failure(), CONVERTER))


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ApplicationError("out of stock", 1, 1j, type="Stock", non_retryable=True),
        exceptions.CancelledError("out of stock", object()),
        exceptions.TerminatedError("out of stock", object()),
        exceptions.TimeoutError("out of stock", type=None, last_heartbeat_details=[object()]),
    ],
)
def test_an_error_outlives_details_that_cannot_be_written(error: exceptions.FailureError) -> None:
    (cause,) = failure_of(error, CONVERTER).chain

    assert cause.message.startswith("out of stock (its details were dropped: the error's detail ")
    assert cause.details == cause.last_heartbeat_details == []
    assert cause.non_retryable == getattr(error, "non_retryable", False)


def test_an_error_outlives_a_converter_that_fails() -> None:
    class Broken(DefaultPayloadConverter):
        def to_payloads(self, values: Any, *, names: Any = ()) -> Any:
            raise LookupError("no key\n" + "x" * 10_000)

        def failure_of(self, exception: BaseException) -> Failure:
            raise ZeroDivisionError("no failure converter")

        def exception_of(self, failure: Failure) -> BaseException:
            raise NotImplementedError

    (cause,) = failure_of(exceptions.ApplicationError("out of stock", 1, type="S"), Broken()).chain

    assert cause.message == (
        "out of stock (its details were dropped: no key)"
        " (the failure converter could not write it: no failure converter)"
    )


@pytest.mark.parametrize("odd", [None, 5, ["a"], "caf\udce9", "x" * 100_000])
def test_odd_names_of_an_error_can_be_written(odd: Any) -> None:
    error = exceptions.ApplicationError(odd, type=odd, next_retry_delay=odd)
    error.__cause__ = exceptions.ActivityError(
        odd,
        scheduled_event_id=0,
        started_event_id=0,
        identity=odd,
        activity_type=odd,
        activity_id=odd,
        retry_state=None,
    )
    failure = failure_of(error, CONVERTER)

    assert isinstance(decode(encode(WorkflowFailed(failure=failure))), WorkflowFailed)
    assert all(len(cause.type) + len(cause.activity_id) < 5_000 for cause in failure.chain)


def test_users_know_them_as_perdure_exceptions() -> None:
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        if isinstance(kind, type):
            assert kind.__module__ == "perdure.exceptions", name
    assert exceptions.TemporalError is exceptions.PerdureError
