"""A data converter written for Temporal's classes works, and reaches the records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from perdure.api.common.v1 import Payload
from perdure.api.failure.v1 import Failure
from perdure.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    PayloadCodec,
    PayloadConverter,
    default,
    records_converter,
)
from perdure.exceptions import ApplicationError
from perdure_actors.replay.failures import exception_of, failure_of
from perdure_schemas import converters, payloads


class Secret:
    def __init__(self, text: str) -> None:
        self.text = text


class SecretConverter(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "text/secret"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Secret):
            return None
        return Payload(
            metadata={"encoding": self.encoding.encode(), "key": b"k1"},
            data=value.text[::-1].encode(),
        )

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        assert type_hint in (None, Secret)
        assert payload.metadata["key"] == b"k1"
        return Secret(payload.data.decode()[::-1])


class SecretsConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(
            SecretConverter(), *DefaultPayloadConverter.default_encoding_payload_converters
        )


def test_a_users_encoding_reaches_the_records_and_comes_back() -> None:
    converter = records_converter(DataConverter(payload_converter_class=SecretsConverter))

    made = converter.to_payloads([Secret("abc"), None, b"x", {"a": 1}])
    found = converter.from_payloads(made, [Secret, None, bytes, dict])

    assert made[0] == payloads.Payload(encoding="text/secret", data=b"cba", metadata={"key": b"k1"})
    assert [payload.encoding for payload in made[1:]] == [
        "binary/null",
        "binary/plain",
        "json/plain",
    ]
    assert found[0].text == "abc"
    assert found[1:] == [None, b"x", {"a": 1}]


def test_the_default_is_the_fast_one_and_writes_the_same() -> None:
    values = [None, b"x", {"a": 1}, "ü", [1.5]]
    fast = records_converter(default())

    assert isinstance(fast, converters.DefaultPayloadConverter)
    slow = PayloadConverter.default.to_payloads(values)
    assert [(payload.metadata["encoding"].decode(), payload.data) for payload in slow] == [
        (payload.encoding, payload.data) for payload in fast.to_payloads(values)
    ]
    assert PayloadConverter.default.from_payloads(slow) == values


class Refusing:
    def __iter__(self) -> Any:
        raise ValueError("not now")


@pytest.mark.parametrize(("value", "kind"), [(1j, TypeError), (Refusing(), ValueError)])
def test_a_composite_names_the_argument_it_cannot_write(value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="argument 2 of type"):
        PayloadConverter.default.to_payloads([1, value])


def test_a_composite_without_a_taker_says_what_there_is() -> None:
    with pytest.raises(TypeError, match="no converter takes it; there are text/secret"):
        CompositePayloadConverter(SecretConverter()).to_payload(1)


def test_a_composite_names_the_argument_it_cannot_read() -> None:
    converter = PayloadConverter.default

    with pytest.raises(ValueError, match="argument 1 has the encoding 'x/y'; this converter reads"):
        converter.from_payload(Payload(metadata={"encoding": b"x/y"}))
    with pytest.raises(ValueError, match="argument 1 cannot be read: Expected `int`"):
        converter.from_payload(Payload(metadata={"encoding": b"json/plain"}, data=b'"x"'), int)


class AddressEncoder(AdvancedJSONEncoder):
    def default(self, o: Any) -> Any:
        return str(o) if isinstance(o, IPv4Address) else super().default(o)


class AddressReader(JSONTypeConverter):
    def to_typed_value(self, hint: type, value: Any) -> Any:
        return IPv4Address(value) if hint is IPv4Address else JSONTypeConverter.Unhandled


class AddressesConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(
            JSONPlainPayloadConverter(
                encoder=AddressEncoder, custom_type_converters=[AddressReader()]
            )
        )


def test_a_users_json_encoder_and_type_reader_are_asked_at_every_depth() -> None:
    converter = records_converter(DataConverter(payload_converter_class=AddressesConverter))
    value = {"a": [IPv4Address("1.2.3.4")], "b": []}

    made = converter.to_payloads([IPv4Address("1.2.3.4"), value, {1, 2}, None])

    assert made[0].data == b'"1.2.3.4"'
    assert converter.from_payloads(
        made, [IPv4Address, dict[str, list[IPv4Address]], set[int], None]
    ) == [IPv4Address("1.2.3.4"), value, {1, 2}, None]
    with pytest.raises(ValueError, match="argument 1 cannot be read: nothing reads it as"):
        converter.from_payload(made[0], Secret)


def test_a_users_json_decoder_is_used() -> None:
    class Upper(json.JSONDecoder):
        def decode(self, s: str, *args: Any) -> Any:
            return super().decode(s.upper(), *args)

    converter = JSONPlainPayloadConverter(decoder=Upper, encoding="json/upper")

    assert converter.encoding == "json/upper"
    assert converter.from_payload(Payload(data=b'"a"')) == "A"


class Quiet(DefaultFailureConverter):
    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        super().to_failure(exception, payload_converter, failure)
        failure.stack_trace = ""
        failure.message = failure.message.replace("4711", "****")


def test_a_users_failure_converter_has_the_last_word() -> None:
    converter = records_converter(DataConverter(failure_converter_class=Quiet))

    failure = failure_of(ApplicationError("card 4711", 5, type="Card"), converter)

    assert failure.chain[0].message == "card ****"
    found = exception_of(failure, converter)
    assert isinstance(found, ApplicationError)
    assert (found.message, found.type, found.details) == ("card ****", "Card", (5,))


def test_encoded_attributes_hide_the_text_until_they_are_read() -> None:
    converter = records_converter(
        DataConverter(failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
    )
    error = ApplicationError("secret", type="T")
    error.__cause__ = ValueError("deep secret")

    failure = failure_of(error, converter)

    assert [link.message for link in failure.chain] == ["Encoded failure"] * 2
    found = exception_of(failure, converter)
    again = failure_of(found, converter)
    assert [link.message for link in again.chain] == ["Encoded failure"] * 2
    assert [link.stack_trace for link in again.chain] == [""] * 2
    assert (str(found), str(found.__cause__)) == ("T: secret", "ValueError: deep secret")


class Rot(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(payload.metadata, payload.data[::-1]) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.encode(payloads)


async def test_a_data_converter_applies_its_codec_to_payloads() -> None:
    converter = DataConverter(payload_codec=Rot())

    made = await converter.encode_wrapper(["ab"])

    assert made.payloads[0].data == b'"ba"'
    assert await converter.decode_wrapper(made, [str]) == ["ab"]
    assert await converter.decode_wrapper(None) == []


async def test_a_codec_covers_failures() -> None:
    converter = DataConverter(
        payload_codec=Rot(), failure_converter_class=DefaultFailureConverterWithEncodedAttributes
    )
    failure = Failure()

    await converter.encode_failure(ApplicationError("secret", "ab"), failure)

    assert (failure.message, failure.info.details[0].data) == ("Encoded failure", b'"ba"')
    assert failure.encoded_attributes is not None
    assert failure.encoded_attributes.data.startswith(b"}")
    found = await converter.decode_failure(failure)
    assert isinstance(found, ApplicationError)
    assert (found.message, found.details) == ("secret", ("ab",))


async def test_failures_go_through_the_data_converter() -> None:
    failure = Failure()

    await default().encode_failure(ValueError("x"), failure)

    assert failure.info.type == "ValueError"
    assert str(await default().decode_failure(failure)) == "ValueError: x"


class Careless(DefaultPayloadConverter):
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return [Payload(data=b"1")] if len(values) == 1 else []


def test_a_careless_converter_is_found_out() -> None:
    converter = records_converter(DataConverter(payload_converter_class=Careless))

    with pytest.raises(ValueError, match="Careless made 0 payloads of 2 values"):
        converter.to_payloads([1, 2])
    with pytest.raises(ValueError, match=r"without metadata\['encoding'\]"):
        converter.to_payloads([1])
