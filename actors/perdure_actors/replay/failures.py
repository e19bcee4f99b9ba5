"""Exceptions to failure records and back, bounded in depth and size. Nothing else lives here."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from msgspec.structs import replace

from perdure_actors.replay.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - Temporal's name
    TimeoutType,
)
from perdure_schemas.bounds import (
    CHAIN_CHARS_MAX,
    LINKS_MAX,
    MESSAGE_CHARS_MAX,
    NAME_CHARS_MAX,
    STACK_CHARS_MAX,
    cut,
)
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Failure, FailureCause, Payload

FRAMES_MAX = 100
PROBLEM_CHARS_MAX = 1_000
SOURCE = "perdure"
_MILLISECOND = timedelta(milliseconds=1)
_TEXTS = frozenset(
    ("type", "activity_type", "activity_id", "identity", "workflow_type", "workflow_id", "run_id")
)


@runtime_checkable
class FailureConverter(Protocol):
    """A payload converter that also has its own way with failures: a user's data converter."""

    def failure_of(self, exception: BaseException) -> Failure:
        """The failure record of an exception."""

    def exception_of(self, failure: Failure) -> BaseException:
        """The exception of a failure record, its causes chained."""


def failure_of(exception: BaseException, converter: PayloadConverter) -> Failure:
    """The failure record of an exception and its causes, outermost first.

    What of it cannot be written is left out, and said so: an error is never lost for its details.
    """
    if not isinstance(converter, FailureConverter):
        return default_failure_of(exception, converter)
    try:
        return converter.failure_of(exception)
    except Exception as problem:
        failure = default_failure_of(exception, converter)
        outer = failure.chain[0]
        note = f" (the failure converter could not write it: {_problem(problem)})"
        return Failure(chain=[replace(outer, message=outer.message + note), *failure.chain[1:]])


def exception_of(failure: Failure, converter: PayloadConverter) -> BaseException:
    """The exception of a failure record, with its causes as the chain of __cause__."""
    if isinstance(converter, FailureConverter):
        return converter.exception_of(failure)
    return default_exception_of(failure, converter)


def default_failure_of(exception: BaseException, converter: PayloadConverter) -> Failure:
    """What failure_of does unless the user's converter has its own way."""
    chain: list[FailureCause] = []
    seen: set[int] = set()
    room = CHAIN_CHARS_MAX
    link: BaseException | None = exception
    while link is not None and id(link) not in seen and len(chain) < LINKS_MAX:
        seen.add(id(link))
        if isinstance(link, FailureError) and link.failure is not None:
            # It was read from a record: that says more than the exception does here.
            chain += link.failure.chain[: LINKS_MAX - len(chain)]
            break
        cause = _cause_record(link, converter, room)
        room -= len(cause.message) + len(cause.stack_trace)
        chain.append(cause)
        link = _next(link)
    return Failure(chain=chain)


def default_exception_of(failure: Failure, converter: PayloadConverter) -> BaseException:
    """What exception_of does unless the user's converter has its own way."""
    inner: BaseException | None = None
    for index in range(len(failure.chain) - 1, -1, -1):
        cause = failure.chain[index]
        error = _MAKERS.get(cause.kind, _plain)(cause, converter)
        error._failure = Failure(chain=failure.chain[index:])
        error.__cause__ = inner
        inner = error
    return inner or FailureError("it failed, and no failure was recorded", failure=failure)


def text_of(exception: BaseException) -> str:
    """What an exception says, its first line the real error even for a group of several."""
    if isinstance(exception, BaseExceptionGroup):
        first = exception.exceptions[0]
        others = len(exception.exceptions) - 1
        more = f" (and {others} more)" if others else ""
        return f"{type(first).__name__}: {text_of(first)}{more}, in: {exception.message}"
    try:
        text = str(exception.message if isinstance(exception, FailureError) else exception)
    except Exception as error:
        return f"{type(exception).__name__}, whose text failed with {type(error).__name__}"
    return text or type(exception).__name__


def _next(link: BaseException) -> BaseException | None:
    """The exception that led to one."""
    if link.__cause__ is not None:
        return link.__cause__
    if isinstance(link, BaseExceptionGroup):
        first: BaseException = link.exceptions[0]
        return first
    return None if link.__suppress_context__ else link.__context__


def _cause_record(link: BaseException, converter: PayloadConverter, room: int) -> FailureCause:
    fields = _fields_of(link)
    for name in _TEXTS & fields.keys():
        # Users give what they like for a type or an id.
        fields[name] = cut(str(fields[name] or ""), NAME_CHARS_MAX)
    payloads: dict[str, Any]
    payloads, note = _payloads(link, converter)
    message = cut(text_of(link), min(MESSAGE_CHARS_MAX, max(room, 200))) + note
    stack = _stack(link, min(STACK_CHARS_MAX, room - len(message)))
    return FailureCause(message=message, source=SOURCE, stack_trace=stack, **fields, **payloads)


def _payloads(link: BaseException, converter: PayloadConverter) -> tuple[dict[str, Any], str]:
    """The details of an error, and what is said of them when they cannot be written."""
    if isinstance(link, TimeoutError):
        field, values = "last_heartbeat_details", link.last_heartbeat_details
    elif isinstance(link, ApplicationError | CancelledError | TerminatedError):
        field, values = "details", link.details
    else:
        return {}, ""
    try:
        return {field: _details(values, converter)}, ""
    except Exception as problem:
        return {}, f" (its details were dropped: {_problem(problem)})"


def _problem(problem: Exception) -> str:
    """What is wrong with an error's details, in short: it is said beside the error itself."""
    return cut(text_of(problem).partition("\n")[0], PROBLEM_CHARS_MAX)


def _fields_of(link: BaseException) -> dict[str, Any]:
    """What a kind of error records beside its message, its stack and its details."""
    if isinstance(link, ApplicationError):
        return {
            "type": link.type,
            "non_retryable": link.non_retryable,
            "next_retry_delay_ms": _delay_ms(link.next_retry_delay),
            "category": "benign" if link.category == ApplicationErrorCategory.BENIGN else "",
        }
    if isinstance(link, CancelledError):
        return {"kind": "canceled"}
    if isinstance(link, asyncio.CancelledError):
        return {"kind": "canceled"}
    if isinstance(link, TerminatedError):
        return {"kind": "terminated"}
    if isinstance(link, TimeoutError):
        return {
            "kind": "timeout",
            "timeout_type": link.type.name.lower() if link.type else "",
        }
    if isinstance(link, ServerError):
        return {"kind": "server", "non_retryable": link.non_retryable}
    if isinstance(link, ActivityError):
        return {
            "kind": "activity",
            "activity_type": link.activity_type,
            "activity_id": link.activity_id,
            "identity": link.identity,
            "retry_state": link.retry_state.name.lower() if link.retry_state else "",
        }
    if isinstance(link, ChildWorkflowError):
        return {
            "kind": "child_workflow",
            "workflow_type": link.workflow_type,
            "workflow_id": link.workflow_id,
            "run_id": link.run_id,
            "retry_state": link.retry_state.name.lower() if link.retry_state else "",
        }
    return {"type": type(link).__name__}


def _delay_ms(delay: Any) -> int:
    return max(0, delay // _MILLISECOND) if isinstance(delay, timedelta) else -1


def _details(values: Sequence[Any], converter: PayloadConverter) -> list[Payload]:
    names = [f"the error's detail {number}" for number in range(1, len(values) + 1)]
    return converter.to_payloads(values, names=names) if values else []


def _values(payloads: Sequence[Payload], converter: PayloadConverter) -> list[Any]:
    """Details as values; as payloads where they cannot be read, for the error matters more."""
    try:
        return converter.from_payloads(payloads) if payloads else []
    except Exception:
        return list(payloads)


def _stack(link: BaseException, chars_max: int) -> str:
    if link.__traceback__ is None or chars_max <= 0:
        return ""
    # The last frames are the ones nearest to the error.
    return cut("".join(traceback.format_tb(link.__traceback__, limit=-FRAMES_MAX)), chars_max)


def _retry_state(name: str) -> RetryState | None:
    return RetryState.__members__.get(name.upper())


def _timeout_type(name: str) -> TimeoutType | None:
    # Temporal calls the timeouts of a run start-to-close too.
    known = "START_TO_CLOSE" if name in ("run", "execution") else name.upper()
    return TimeoutType.__members__.get(known)


def _plain(cause: FailureCause, _converter: PayloadConverter) -> FailureError:
    """A kind that a newer release records: its message is all we know how to say."""
    return FailureError(cause.message)


def _application(cause: FailureCause, converter: PayloadConverter) -> FailureError:
    delay = cause.next_retry_delay_ms
    benign = cause.category == "benign"
    return ApplicationError(
        cause.message,
        *_values(cause.details, converter),
        type=cause.type or None,
        non_retryable=cause.non_retryable,
        next_retry_delay=None if delay < 0 else timedelta(milliseconds=delay),
        category=ApplicationErrorCategory.BENIGN
        if benign
        else ApplicationErrorCategory.UNSPECIFIED,
    )


def _canceled(cause: FailureCause, converter: PayloadConverter) -> FailureError:
    return CancelledError(cause.message, *_values(cause.details, converter))


def _terminated(cause: FailureCause, converter: PayloadConverter) -> FailureError:
    return TerminatedError(cause.message, *_values(cause.details, converter))


def _timeout(cause: FailureCause, converter: PayloadConverter) -> FailureError:
    return TimeoutError(
        cause.message,
        type=_timeout_type(cause.timeout_type),
        last_heartbeat_details=_values(cause.last_heartbeat_details, converter),
    )


def _server(cause: FailureCause, _converter: PayloadConverter) -> FailureError:
    return ServerError(cause.message, non_retryable=cause.non_retryable)


def _activity(cause: FailureCause, _converter: PayloadConverter) -> FailureError:
    return ActivityError(
        cause.message,
        scheduled_event_id=0,
        started_event_id=0,
        identity=cause.identity,
        activity_type=cause.activity_type,
        activity_id=cause.activity_id,
        retry_state=_retry_state(cause.retry_state),
    )


def _child_workflow(cause: FailureCause, _converter: PayloadConverter) -> FailureError:
    return ChildWorkflowError(
        cause.message,
        namespace="",
        workflow_id=cause.workflow_id,
        run_id=cause.run_id,
        workflow_type=cause.workflow_type,
        initiated_event_id=0,
        started_event_id=0,
        retry_state=_retry_state(cause.retry_state),
    )


_MAKERS: dict[str, Callable[[FailureCause, PayloadConverter], FailureError]] = {
    "application": _application,
    "canceled": _canceled,
    "terminated": _terminated,
    "timeout": _timeout,
    "server": _server,
    "activity": _activity,
    "child_workflow": _child_workflow,
}
