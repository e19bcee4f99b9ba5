"""Our codec and fastavro agree on every record, and each class on its published schema."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib import resources
from types import UnionType
from typing import Any, get_args, get_origin

import fastavro
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure_schemas import avro, events, payloads, transition
from perdure_schemas.commands import CancelWorkflow, StartWorkflow
from perdure_schemas.payloads import Record
from tests.unit.records import records

FRAMED = list(avro.framed_records())
NESTED = [
    value
    for value in vars(payloads).values()
    if isinstance(value, type) and issubclass(value, Record) and value is not Record
]


def schema_of(cls: type[Record]) -> Any:
    return json.loads(avro.schema_text(cls.__name__))


PARSED = {cls: fastavro.parse_schema(schema_of(cls)) for cls in FRAMED}


def spelled_out(kind: Any) -> Iterator[Any]:
    """Every record schema inside a schema, itself first."""
    if isinstance(kind, list):
        for part in kind:
            yield from spelled_out(part)
    elif isinstance(kind, dict):
        if kind["type"] == "record":
            yield kind
            for field in kind["fields"]:
                yield from spelled_out(field["type"])
        else:
            yield from spelled_out(kind.get("items", kind.get("values")))


def with_branches(value: Any) -> Any:
    """A record as fastavro takes it."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(FRAMED).flatmap(records))
def test_our_codec_and_fastavro_write_and_read_the_same(record: Record) -> None:
    data = avro.encode(record)

    source = io.BytesIO(data[avro.FRAME_BYTES :])
    assert fastavro.schemaless_reader(source, PARSED[type(record)], None) == with_branches(record)
    assert source.read() == b""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED[type(record)], with_branches(record))
    assert avro.decode(data[: avro.FRAME_BYTES] + out.getvalue()) == record
    assert avro.decode(data) == record


@pytest.mark.parametrize("cls", FRAMED, ids=lambda cls: cls.__name__)
def test_every_record_survives_both_ways(cls: type[Record]) -> None:
    @settings(max_examples=5, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(records(cls))
    def holds(record: Record) -> None:
        data = avro.encode(record)
        assert avro.decode(data) == record
        assert avro.decode_as(cls, data) == record
        assert avro.kind_of(data) is cls
        read = fastavro.schemaless_reader(io.BytesIO(data[10:]), PARSED[cls], None)
        assert read == with_branches(record)

    holds()


def blocks(items: list[bytes], sizes: list[int], counted: bool) -> bytes:
    """An array in several blocks, with byte counts where asked, as other writers do."""
    out = b""
    at = 0
    for size in sizes:
        block = b"".join(items[at : at + size])
        at += size
        if counted:
            out += avro_long(-size) + avro_long(len(block)) + block
        else:
            out += avro_long(size) + block
    return out + b"\0"


def avro_long(value: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", value)
    return out.getvalue()


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("sizes", [[1, 2], [3], [100, 1], [63, 64, 65], [1] * 40])
def test_arrays_and_maps_in_any_blocks_are_read(sizes: list[int], *, counted: bool) -> None:
    count = sum(sizes)
    heartbeat = events.ActivityHeartbeat(activity_id="1", attempt=1)
    body = transition.TransitionBody(workflow_id="w")
    payload = b"\4ab\2x" + blocks([b"\2%c\2y" % (97 + n % 26) for n in range(26)], [26], counted)
    texts = [b"\6%03d" % number for number in range(count)]

    # The last field of each is its array; an empty one is a single zero.
    beats = avro.decode(avro.encode(heartbeat)[:-1] + blocks([payload] * count, sizes, counted))
    events_of = avro.decode(avro.encode(body)[:-1] + blocks(texts, sizes, counted))

    assert isinstance(beats, events.ActivityHeartbeat)
    letters = {chr(97 + number): b"y" for number in range(26)}
    expected = payloads.Payload(encoding="ab", data=b"x", metadata=letters)
    assert beats.details == [expected] * count
    assert isinstance(events_of, transition.TransitionBody)
    assert events_of.events == [b"%03d" % number for number in range(count)]


@pytest.mark.parametrize("cls", [*FRAMED, *NESTED], ids=lambda cls: cls.__name__)
def test_a_class_and_its_schemas_name_the_same_fields(cls: type[Record]) -> None:
    schemas = [
        schema
        for framed in FRAMED
        for schema in spelled_out(schema_of(framed))
        if schema["name"] == cls.__name__
    ]
    assert schemas, "no schema spells it out"
    for schema in schemas:
        assert outline(schema) == outline(schemas[0]), "two schemas spell it out differently"
    # Their order is the schema's: a class has those of its bases first.
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    assert sorted(spec["name"] for spec in schemas[0]["fields"]) == sorted(fields)
    for spec in schemas[0]["fields"]:
        field = fields[spec["name"]]
        assert plain_type(spec["type"]) == avro_type(field.type), field.name
        assert ("default" in spec) == (not field.required), field.name
        if not field.required:
            default = field.default_factory() if callable(field.default_factory) else field.default
            expected = spec["default"].encode("latin-1") if field.type is bytes else spec["default"]
            assert default == expected, field.name


def outline(schema: Any) -> Any:
    fields = [{**field, "type": plain_type(field["type"])} for field in schema["fields"]]
    return {**schema, "fields": fields}


def plain_type(kind: Any) -> Any:
    if isinstance(kind, list):
        return [plain_type(part) for part in kind]
    if isinstance(kind, str):
        return kind.removeprefix("perdure.")
    if kind["type"] == "record":
        return kind["name"]
    return (kind["type"], plain_type(kind.get("items", kind.get("values"))))


def avro_type(kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        assert inner[1] is type(None)
        return ["null", avro_type(inner[0])]
    if origin is list:
        return ("array", avro_type(inner[0]))
    if origin is dict:
        assert inner[0] is str
        return ("map", avro_type(inner[1]))
    names = {str: "string", bytes: "bytes", int: "long", bool: "boolean", float: "double"}
    return names.get(kind, kind.__name__)


@pytest.mark.parametrize("cls", FRAMED, ids=lambda cls: cls.__name__)
def test_a_schema_tells_a_stranger_what_each_field_is(cls: type[Record]) -> None:
    for schema in spelled_out(schema_of(cls)):
        assert schema.get("doc"), schema["name"]
        assert schema["namespace"] == "perdure"
        for field in schema["fields"]:
            assert field.get("doc"), f"{schema['name']}.{field['name']}"


def test_every_published_schema_has_a_class() -> None:
    folder = resources.files("perdure_schemas").joinpath("avsc")
    names = {item.name for item in folder.iterdir() if item.name.endswith(".avsc")}

    assert names == {f"{cls.__name__}.avsc" for cls in FRAMED}


def test_no_schema_is_recursive_or_has_items_of_no_size() -> None:
    for cls in FRAMED:
        assert list(hazards(schema_of(cls))) == []


def hazards(kind: Any, inside: tuple[str, ...] = ()) -> Iterator[str]:
    """What lets a few bytes become many objects, or deep ones."""
    if isinstance(kind, str) and kind.removeprefix("perdure.") in inside:
        yield f"{kind} holds itself"
    elif isinstance(kind, list):
        for part in kind:
            yield from hazards(part, inside)
    elif isinstance(kind, dict) and kind["type"] == "record":
        for field in kind["fields"]:
            yield from hazards(field["type"], (*inside, kind["name"]))
    elif isinstance(kind, dict):
        items = kind.get("items", kind.get("values"))
        if kind["type"] == "array" and is_of_no_size(items):
            yield f"an array of {items}"
        yield from hazards(items, inside)


def is_of_no_size(kind: Any) -> bool:
    if isinstance(kind, dict) and kind["type"] == "record":
        return all(is_of_no_size(field["type"]) for field in kind["fields"])
    return bool(kind == "null")


def test_planted_hazards_are_found() -> None:
    tree = {"type": "record", "name": "T", "fields": [{"name": "t", "type": ["null", "perdure.T"]}]}
    empty = {"type": "record", "name": "E", "fields": [{"name": "n", "type": "null"}]}

    assert list(hazards(tree)) == ["perdure.T holds itself"]
    assert len(list(hazards({"type": "array", "items": empty}))) == 1
    assert len(list(hazards({"type": "array", "items": "null"}))) == 1


def test_inputs_outputs_and_the_rest_part_the_events() -> None:
    kinds = [events.Input, events.Output, events.Neutral, events.PartitionEvent]
    named = [cls for kind in kinds for cls in get_args(kind)]
    defined = [cls for cls in FRAMED if cls.__module__ == events.__name__]

    assert len(named) == len(set(named))
    # Those of other modules are named as their rules come; test_core_rules counts them.
    assert set(defined) <= set(named) <= set(FRAMED)
    assert frozenset(get_args(events.Input)) == events.INPUTS
    assert frozenset(get_args(events.Output)) == events.OUTPUTS


def crc64_avro(text: str) -> int:
    """The specification's, bit by bit: no table, no library."""
    empty = 0xC15D213AA4D7A795
    value = empty
    for byte in text.encode():
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (empty if value & 1 else 0)
    return value


def canonical(kind: Any) -> str:
    """Parsing canonical form of the few kinds of schema that we use."""
    if isinstance(kind, str):
        return json.dumps(kind)
    if isinstance(kind, list):
        return "[" + ",".join(canonical(part) for part in kind) + "]"
    if kind["type"] == "record":
        fields = ",".join(
            f'{{"name":"{field["name"]}","type":{canonical(field["type"])}}}'
            for field in kind["fields"]
        )
        return f'{{"name":"perdure.{kind["name"]}","type":"record","fields":[{fields}]}}'
    inner = "items" if kind["type"] == "array" else "values"
    return f'{{"type":"{kind["type"]}","{inner}":{canonical(kind[inner])}}}'


def test_the_frame_is_avros_single_object_encoding() -> None:
    # The specification's own example: the fingerprint of "int".
    assert crc64_avro('"int"') == 0x7275D51A3F395C8F
    for cls in FRAMED:
        prefix = avro.encode(sample(cls))[: avro.FRAME_BYTES]
        fingerprint = crc64_avro(canonical(schema_of(cls)))
        assert prefix == b"\xc3\x01" + fingerprint.to_bytes(8, "little"), cls.__name__


def test_fingerprints_are_fastavros() -> None:
    for cls in FRAMED:
        form = fastavro.schema.to_parsing_canonical_form(schema_of(cls))
        expected = fastavro.schema.fingerprint(form, "CRC-64-AVRO")
        assert avro.frame(schema_of(cls))[2:].hex() == expected


def sample(cls: type[Record]) -> Record:
    blank = {str: "", bytes: b"", int: 0, bool: False, list[str]: []}
    kept = {
        field.name: blank[field.type] if field.type in blank else sample(field.type)
        for field in msgspec.structs.fields(cls)
        if field.required
    }
    return cls(**kept)


def test_two_schemas_never_share_a_frame() -> None:
    assert len({avro.encode(sample(cls))[:10] for cls in FRAMED}) == len(FRAMED)


def test_another_record_than_asked_for_is_refused() -> None:
    data = avro.encode(CancelWorkflow(workflow_id="w"))

    with pytest.raises(avro.UnreadableRecordError, match="CancelWorkflow record where a Start"):
        avro.decode_as(StartWorkflow, data)


def test_a_number_out_of_bounds_is_not_written() -> None:
    start = StartWorkflow(workflow_id="w", workflow_type="W")

    with pytest.raises(ValueError, match="64 bits"):
        avro.encode(msgspec.structs.replace(start, first_sent_ms=2**63))
    with pytest.raises(ValueError, match="64 bits"):
        avro.encode(msgspec.structs.replace(start, first_sent_ms=-(2**63) - 1))
    for edge in (2**63 - 1, -(2**63)):
        record = msgspec.structs.replace(start, first_sent_ms=edge)
        assert avro.decode(avro.encode(record)) == record
