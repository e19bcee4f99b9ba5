"""Failure converters that users extend: exceptions to failures and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from perdure.api.failure.v1 import Failure
from perdure.converter._payload_codecs import payload_of, payload_record
from perdure.converter._payload_converters import PayloadConverter, cares
from perdure_actors.replay.exceptions import ApplicationError
from perdure_actors.replay.failures import default_exception_of, default_failure_of
from perdure_schemas import converters, payloads
from perdure_schemas.bounds import LINKS_MAX
from perdure_schemas.contexts import SerializationContext, in_context
from perdure_schemas.transfer_types import all_as_asked, hints_to_be_read, to_be_written

ENCODED_MESSAGE = "Encoded failure"


class FailureConverter(ABC):
    """What turns exceptions into failures and back."""

    default: ClassVar[FailureConverter]

    @abstractmethod
    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Fill a failure from an exception."""

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The exception of a failure, its causes chained."""


class DefaultFailureConverter(FailureConverter):
    """Temporal's rules: error types by class name, causes and contexts followed."""

    def __init__(self, *, encode_common_attributes: bool = False) -> None:
        self._encode_common_attributes = encode_common_attributes

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Fill a failure from an exception."""
        record = default_failure_of(exception, RecordsConverter(payload_converter))
        failure.CopyFrom(from_record(record))
        link: Failure | None = failure if self._encode_common_attributes else None
        while link is not None:
            if link.encoded_attributes is None:
                text = {"message": link.message, "stack_trace": link.stack_trace}
                link.encoded_attributes = payload_converter.to_payload(text)
                link.message, link.stack_trace = ENCODED_MESSAGE, ""
            link = link.cause

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The exception of a failure, its causes chained."""
        link: Failure | None = failure
        while link is not None:
            if link.encoded_attributes is not None:
                text = payload_converter.from_payload(link.encoded_attributes)
                if isinstance(text, dict):
                    link.message = str(text.get("message", ""))
                    link.stack_trace = str(text.get("stack_trace", ""))
                    # It is in clear from here on: who passes the error on encodes it anew.
                    link.encoded_attributes = None
            link = link.cause
        return default_exception_of(to_record(failure), RecordsConverter(payload_converter))


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """The default, with message and stack trace as a payload, so that a codec covers them."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


FailureConverter.default = DefaultFailureConverter()


def create_payload_validation_error(details: Any) -> ApplicationError:
    """The error of a value that was read and is not what it should be; it is not retried.

    For converters of users: the details say what is wrong, and None leaves them out.
    """
    given = () if details is None else (details,)
    return ApplicationError(
        "Payload validation failed", *given, type="PayloadValidationError", non_retryable=True
    )


class RecordsConverter(converters.PayloadConverter):
    """A user's payload converter, as the rooms below know one."""

    def __init__(self, payload_converter: PayloadConverter) -> None:
        self._converter = payload_converter
        self._cares = cares(payload_converter)

    @property
    def is_contextual(self) -> bool:
        """Whether the user's converter wants to know whose values it has."""
        return self._cares

    def with_context(self, context: SerializationContext) -> converters.PayloadConverter:
        """The user's converter in a context."""
        return RecordsConverter(in_context(self._converter, context))

    def to_payloads(
        self, values: Sequence[Any], *, names: Sequence[str] = ()
    ) -> list[payloads.Payload]:
        """A payload for each value."""
        made = self._converter.to_payloads([to_be_written(value) for value in values])
        if len(made) != len(values):
            raise ValueError(
                f"{type(self._converter).__name__} made {len(made)} payloads"
                f" of {len(values)} values"
            )
        return [payload_record(payload) for payload in made]

    def from_payloads(
        self,
        payloads: Sequence[payloads.Payload],
        type_hints: Sequence[Any] | None = None,
        *,
        names: Sequence[str] = (),
    ) -> list[Any]:
        """The value of each payload, as its type hint where there is one."""
        given = [payload_of(record) for record in payloads]
        found = self._converter.from_payloads(given, hints_to_be_read(type_hints))
        return all_as_asked(found, type_hints)


class RecordsConverterWithFailures(RecordsConverter):
    """The same with a user's failure converter."""

    def __init__(
        self, payload_converter: PayloadConverter, failure_converter: FailureConverter
    ) -> None:
        super().__init__(payload_converter)
        self._failures = failure_converter
        self._cares = self._cares or cares(failure_converter)

    def with_context(self, context: SerializationContext) -> converters.PayloadConverter:
        """Both of the user's converters in a context."""
        return RecordsConverterWithFailures(
            in_context(self._converter, context), in_context(self._failures, context)
        )

    def failure_of(self, exception: BaseException) -> payloads.Failure:
        """The failure record of an exception."""
        failure = Failure()
        self._failures.to_failure(exception, self._converter, failure)
        return to_record(failure)

    def exception_of(self, failure: payloads.Failure) -> BaseException:
        """The exception of a failure record."""
        return self._failures.from_failure(from_record(failure), self._converter)


def to_record(failure: Failure) -> payloads.Failure:
    """A user's failure and its causes as a record, outermost first."""
    chain: list[payloads.FailureCause] = []
    link: Failure | None = failure
    while link is not None and len(chain) < LINKS_MAX:
        encoded = link.encoded_attributes
        chain.append(
            msgspec.structs.replace(
                link.info,
                message=str(link.message),
                source=str(link.source),
                stack_trace=str(link.stack_trace),
                encoded=None if encoded is None else payload_record(encoded),
            )
        )
        link = link.cause
    return payloads.Failure(chain=chain)


def from_record(record: payloads.Failure) -> Failure:
    """A failure record as a user's converter knows it."""
    inner: Failure | None = None
    for cause in reversed(record.chain):
        inner = Failure(
            message=cause.message,
            source=cause.source,
            stack_trace=cause.stack_trace,
            encoded_attributes=None if cause.encoded is None else payload_of(cause.encoded),
            cause=inner,
            info=cause,
        )
    return inner or Failure()
