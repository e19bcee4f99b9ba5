"""Converters for pydantic alone and for protobuf messages."""

from __future__ import annotations

import builtins
import importlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import BaseModel

from perdure import activity, workflow
from perdure.api.common.v1 import Payload
from perdure.client import Client
from perdure.contrib.pydantic import (
    PydanticPayloadConverter,
    ToJsonOptions,
    pydantic_data_converter,
)
from perdure.converter import (
    BinaryProtoPayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONProtoPayloadConverter,
    records_converter,
)
from perdure.worker import Worker


class Order(BaseModel):
    id: int
    note: str = "none"


@dataclass
class Line:
    count: int


async def test_pydantic_reads_by_its_own_rules() -> None:
    converter = pydantic_data_converter

    made = await converter.encode([Order(id=1), {"count": "2"}, None, b"x"])

    assert made[0].data == b'{"id":1,"note":"none"}'
    hints: list[Any] = [Order, Line, None, bytes]
    assert await converter.decode(made, hints) == [Order(id=1), Line(2), None, b"x"]
    with pytest.raises(ValueError, match=r"(?s)argument 1 cannot be .*should be a valid"):
        await converter.decode([Payload({"encoding": b"json/plain"}, b'{"id":"x"}')], [Order])


def test_pydantic_leaves_out_what_was_not_set_if_told() -> None:
    class Short(PydanticPayloadConverter):
        def __init__(self) -> None:
            super().__init__(ToJsonOptions(exclude_unset=True))

    assert Short().to_payload(Order(id=1)).data == b'{"id":1}'


@activity.defn
async def label(order: Order) -> Order:
    return Order(id=order.id, note=f"order {order.id}")


@workflow.defn
class Labelling:
    @workflow.run
    async def run(self, order: Order) -> Order:
        return await workflow.execute_activity(
            label, order, start_to_close_timeout=timedelta(minutes=1)
        )


@activity.defn
async def shout(text: StringValue) -> StringValue:
    return StringValue(value=text.value.upper())


@workflow.defn
class Shouting:
    @workflow.run
    async def run(self, text: StringValue) -> StringValue:
        return await workflow.execute_activity(
            shout, text, start_to_close_timeout=timedelta(minutes=1)
        )


async def test_workflows_pass_models_and_messages(tmp_path: Path) -> None:
    for queue, converter in (("p", pydantic_data_converter), ("q", DataConverter.default)):
        client = await Client.connect(f"file:{tmp_path}", data_converter=converter)
        workflows: list[type] = [Labelling, Shouting]
        async with Worker(client, task_queue=queue, workflows=workflows, activities=[label, shout]):
            order = await client.execute_workflow(
                Labelling.run, Order(id=7), id=f"{queue}1", task_queue=queue
            )
            text = await client.execute_workflow(
                Shouting.run, StringValue(value="hey"), id=f"{queue}2", task_queue=queue
            )
        await client.close()
        assert (order, text.value) == (Order(id=7, note="order 7"), "HEY")


@pytest.mark.parametrize("kind", [BinaryProtoPayloadConverter, JSONProtoPayloadConverter])
def test_messages_are_written_and_read(kind: type[Any]) -> None:
    converter = kind()
    message = Struct()
    message.update({"a": 1})

    made = converter.to_payload(message)

    assert converter.to_payload("text") is None
    assert made.metadata == {
        "encoding": converter.encoding.encode(),
        "messageType": b"google.protobuf.Struct",
    }
    assert converter.from_payload(made) == message
    assert converter.from_payload(made, Struct) == message


def test_both_default_converters_read_both_encodings() -> None:
    message = StringValue(value="x")
    fast = records_converter(DataConverter.default)
    slow = DefaultPayloadConverter()
    (written,) = fast.to_payloads([message])
    binary = BinaryProtoPayloadConverter().to_payload(message)
    assert binary is not None

    assert written.encoding == "json/protobuf"
    assert slow.to_payload(message).metadata["encoding"] == b"json/protobuf"
    assert slow.from_payload(binary) == message
    assert fast.from_payloads([written, *fast.to_payloads([1])], [StringValue, int]) == [message, 1]


def test_a_message_that_cannot_be_read_is_named() -> None:
    fast = records_converter(DataConverter.default)
    (written,) = fast.to_payloads([StringValue(value="x")])
    unknown = type(written)(
        encoding=written.encoding, data=written.data, metadata={"messageType": b"no.Such"}
    )
    damaged = type(written)(encoding=written.encoding, data=b"{", metadata=written.metadata)

    with pytest.raises(ValueError, match=r"argument 1 cannot be read: .*'no.Such', of which no"):
        fast.from_payloads([unknown])
    with pytest.raises(ValueError, match=r"the memo cannot be read: it is no google\.protobuf"):
        fast.from_payloads([damaged], names=["the memo"])


def test_without_protobuf_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name.startswith("google.protobuf"):
            raise builtins.ImportError(name)
        return real(name, package)

    (written,) = records_converter(DataConverter.default).to_payloads([StringValue(value="x")])
    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ValueError, match=r"pip install 'perdure\[protobuf\]'"):
        records_converter(DataConverter.default).from_payloads([written])
