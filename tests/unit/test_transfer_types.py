"""Classes whose values travel as another type, and search attributes as payloads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from perdure import workflow
from perdure.api.common.v1 import Payload, SearchAttributes
from perdure.client import WorkflowFailureError
from perdure.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from perdure.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONTypeConverter,
    JSONTypeConverterUnhandled,
    PayloadConverter,
    TransferTypeConverter,
    create_payload_validation_error,
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_values,
    encode_search_attributes,
    encode_typed_search_attribute_value,
    records_converter,
    transfer_type_convertible,
)
from perdure.exceptions import ApplicationError
from perdure.testing import WorkflowEnvironment
from perdure.worker import Worker


class MoneyConverter(TransferTypeConverter["Money", dict[str, int]]):
    transfer_type = dict[str, int]

    def to_transfer_type(self, value: Money) -> dict[str, int]:
        return {"cents": value.cents}

    def from_transfer_type(self, value: dict[str, int], type_hint: type[Money]) -> Money:
        if value["cents"] < 0:
            raise create_payload_validation_error({"cents": "is negative"})
        return type_hint(value["cents"])


@transfer_type_convertible(MoneyConverter)
class Money:
    """No JSON knows it."""

    def __init__(self, cents: int) -> None:
        self.cents = cents


class Ours(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)


class Plain(PayloadConverter):
    """A user's own, which knows nothing of it."""

    def to_payloads(self, values: Any) -> list[Payload]:
        return PayloadConverter.default.to_payloads(values)

    def from_payloads(self, payloads: Any, type_hints: Any = None) -> list[Any]:
        assert Money not in (type_hints or ())
        return PayloadConverter.default.from_payloads(payloads, type_hints)


@pytest.mark.parametrize("kind", [DefaultPayloadConverter, Ours, Plain])
async def test_every_converter_writes_and_reads_it(kind: type[PayloadConverter]) -> None:
    converter = DataConverter(payload_converter_class=kind)
    payloads = await converter.encode([Money(5), 1])
    records = records_converter(converter)

    assert payloads[0].data == b'{"cents":5}'
    found = await converter.decode(payloads, [Money])
    assert (found[0].cents, found[1]) == (5, 1)
    assert records.from_payload(records.to_payload(Money(7)), Money).cents == 7


@workflow.defn
class Pays:
    @workflow.run
    async def run(self, money: Money) -> Money:
        return Money(money.cents * 2)


@pytest.mark.embedded
async def test_workflows_take_and_give_it_and_fail_for_a_wrong_one() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue="q", workflows=[Pays]),
    ):
        paid = await env.client.execute_workflow(Pays.run, Money(4), id="p", task_queue="q")
        with pytest.raises(WorkflowFailureError) as failed:
            # By its name: a client that knows what the workflow takes says so itself.
            await env.client.execute_workflow("Pays", Money(-4), id="n", task_queue="q")

    assert paid.cents == 8
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == ("PayloadValidationError", True)
    assert cause.details == ({"cents": "is negative"},)


def test_details_of_a_validation_error_may_be_left_out() -> None:
    assert create_payload_validation_error(None).details == ()


def test_what_is_unhandled_has_a_type() -> None:
    found: JSONTypeConverterUnhandled = JSONTypeConverter.Unhandled

    assert found is JSONTypeConverter.Unhandled


DAY = datetime(2026, 1, 2, tzinfo=UTC)
COUNT, WHEN = SearchAttributeKey.for_int("Count"), SearchAttributeKey.for_datetime("When")
WORDS = SearchAttributeKey.for_keyword_list("Words")
TYPED = TypedSearchAttributes(
    [
        SearchAttributePair(COUNT, 3),
        SearchAttributePair(WHEN, DAY),
        SearchAttributePair(WORDS, ["a", "b"]),
    ]
)


def test_search_attributes_go_through_their_message() -> None:
    message = SearchAttributes()

    encode_search_attributes(TYPED, message)

    assert message.indexed_fields["Count"].metadata["type"] == b"Int"
    assert decode_typed_search_attributes(message) == TYPED
    assert decode_search_attributes(message) == {
        "Count": [3],
        "When": [DAY],
        "Words": ["a", "b"],
    }
    assert message.indexed_fields["When"] == encode_typed_search_attribute_value(WHEN, DAY)


def test_values_of_search_attributes_are_checked() -> None:
    assert encode_search_attribute_values([1, 2]).data == b"[1,2]"
    assert encode_typed_search_attribute_value(COUNT, None).metadata["encoding"] == b"binary/null"
    wrong: Any = "many"
    with pytest.raises(TypeError):
        encode_typed_search_attribute_value(COUNT, wrong)
    with pytest.raises(TypeError, match="are lists"):
        encode_search_attribute_values(wrong)
    with pytest.raises(TypeError, match="no value of a search attribute"):
        encode_search_attribute_values([{}])
