"""Confluent's framing: schemas from outside are held against ours, field by field."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest

from perdure_schemas.avro import FRAME_BYTES, UnreadableRecordError, encode, schema_text
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.confluent import (
    SCHEMA_CHARS_MAX,
    UnfitSchemaError,
    decode_confluent,
    fitting,
    schema_id_of,
)
from perdure_schemas.payloads import Payload

START = StartWorkflow(workflow_id="o-1", workflow_type="Order", input=[Payload(data=b"1")])
PREFIX = b"\x00\x00\x00\x00\x07"
ID = {"name": "workflow_id", "type": "string"}
TYPE = {"name": "workflow_type", "type": "string"}


def schema(*fields: dict[str, Any], name: str = "StartWorkflow") -> str:
    return json.dumps(
        {"type": "record", "name": name, "namespace": "perdure", "fields": list(fields)}
    )


def written(text: str, record: dict[str, Any]) -> bytes:
    out = io.BytesIO(PREFIX)
    out.seek(len(PREFIX))
    fastavro.schemaless_writer(out, fastavro.parse_schema(json.loads(text)), record)
    return out.getvalue()


def test_our_own_schema_reads_as_in_our_framing() -> None:
    data = PREFIX + encode(START)[FRAME_BYTES:]

    assert schema_id_of(data) == 7
    assert decode_confluent(data, schema_text("StartWorkflow")) == START
    assert fitting(schema_text("SignalWorkflow")).__name__ == "SignalWorkflow"


@pytest.mark.parametrize("data", [None, b"", b"\x00\x00\x00\x00", encode(START)])
def test_other_bytes_name_no_schema(data: bytes | None) -> None:
    assert schema_id_of(data) is None


def test_a_schema_may_leave_out_order_anew_and_annotate() -> None:
    payload = {"type": "record", "name": "Payload", "fields": [{"name": "data", "type": "bytes"}]}
    java = {"name": "workflow_id", "type": {"type": "string", "avro.java.string": "String"}}
    reply = {
        "type": "record",
        "name": "ReplyTo",
        "fields": [
            {"name": "correlation_id", "type": "string"},
            {"name": "partition", "type": "int"},
        ],
    }
    text = schema(
        TYPE,
        {"name": "input", "type": {"type": "array", "items": payload}},
        {"name": "reply", "type": reply},
        java,
    )
    record = {
        "workflow_type": "Order",
        "workflow_id": "o-1",
        "input": [{"data": b"1"}],
        "reply": {"partition": 3, "correlation_id": "c"},
    }

    found = decode_confluent(written(text, record), text)

    assert isinstance(found, StartWorkflow)
    assert found.reply is not None
    assert (found.reply.partition, found.reply.correlation_id) == (3, "c")
    assert found.input == START.input
    assert found.request_id == START.request_id


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no Avro schema"),
        ('"string"', "describes no record"),
        (schema(ID, TYPE, name="Order"), "perdure.Order, which is no command of ours"),
        (schema(ID, TYPE, name="EpochBump"), "perdure.EpochBump, which is no command"),
        (schema(ID), "lacks the field StartWorkflow.workflow_type"),
        (schema(ID, TYPE, {"name": "hurry", "type": "long"}), "StartWorkflow.hurry is not ours"),
        (schema(ID, ID, TYPE), "StartWorkflow.workflow_id is not ours, or is there twice"),
        (
            schema({"name": "workflow_id", "type": "bytes"}, TYPE),
            'is "bytes", and ours is "string"',
        ),
        (schema(ID, TYPE, {"name": "input", "type": "bytes"}), "StartWorkflow.input is"),
        (
            schema(ID, TYPE, {"name": "input", "type": {"type": "array"}}),
            "StartWorkflow.input[] is",
        ),
        (schema(ID, TYPE, {"name": "reply", "type": ["string", "null"]}), "StartWorkflow.reply is"),
        (schema(ID, {"name": "workflow_type"}), "StartWorkflow.workflow_type has no type"),
        (schema({"type": "string"}), "a field without a name"),
        (schema(), "has no fields"),
        ('{"type": "record", "name": "perdure.StartWorkflow", "fields": 7}', "has no fields"),
        (" " * (SCHEMA_CHARS_MAX + 1), "characters"),
        ("[" * 100_000, "no Avro schema"),
    ],
)
def test_what_does_not_fit_is_named(text: str, says: str) -> None:
    with pytest.raises(UnfitSchemaError) as caught:
        fitting(text)

    assert says in str(caught.value)


def test_bytes_that_a_schema_does_not_describe_are_refused() -> None:
    text = schema(ID, TYPE)
    good = written(text, {"workflow_id": "o-1", "workflow_type": "Order"})

    for data, says in (
        (good + b"\x00", "length is off"),
        (good[:-1], "length is off"),
        (PREFIX + b"\x01", "cannot be read"),
        (PREFIX + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "cannot be read"),
    ):
        with pytest.raises(UnreadableRecordError, match=says):
            decode_confluent(data, text)
    with pytest.raises(UnreadableRecordError, match="at most 5 are read"):
        decode_confluent(good, text, bytes_max=5)
