"""A schema changes only so that what any release wrote can still be read."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import fastavro
import pytest

from perdure_schemas import avro, release
from perdure_schemas.codec import Compiler
from perdure_schemas.events import ActivityFailed
from perdure_schemas.fingerprints import (
    AVSC,
    StaleFingerprintError,
    fingerprint_of,
    kept,
    read_schema,
)
from perdure_schemas.version import VERSION
from tests.histories.golden_records import full

RELEASED = list(release.released())
FAILED = json.loads(avro.schema_text("ActivityFailed"))


def today(name: str) -> Any:
    return json.loads(avro.schema_text(name))


@pytest.mark.parametrize(
    ("name", "old"),
    [(name, old) for _, name, old in RELEASED],
    ids=[f"{version}-{name}" for version, name, _ in RELEASED],
)
def test_todays_schema_reads_what_a_release_wrote(name: str, old: Any) -> None:
    assert (AVSC / f"{name}.avsc").exists(), "a released record was removed"
    assert release.breaks(old, today(name)) == []
    # fastavro, resolving as Avro says, is the second opinion.
    cls = {cls.__name__: cls for cls in avro.framed_records()}[name]
    kept = fastavro.schemaless_reader(
        io.BytesIO(avro.encode(full(cls))[10:]), fastavro.parse_schema(today(name)), None
    )
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(old), kept)
    out.seek(0)
    fastavro.schemaless_reader(out, fastavro.parse_schema(old), fastavro.parse_schema(today(name)))


def test_a_schema_that_changed_since_is_not_used() -> None:
    with pytest.raises(StaleFingerprintError, match="make records"):
        read_schema("StartWorkflow", kept()["StartWorkflow"].checksum + 1)


def test_this_version_is_kept() -> None:
    kept = {name: old for version, name, old in RELEASED if version == VERSION}

    for cls in avro.framed_records():
        old = kept.get(cls.__name__)
        assert old == today(cls.__name__), (
            f"{cls.__name__}.avsc is not the one kept for {VERSION}: raise the version or, while"
            " that is not out, run make records"
        )


def changed(change: str) -> Any:
    schema = copy.deepcopy(FAILED)
    fields = schema["fields"]
    nested = fields[2]["type"]["fields"][0]["type"]["items"]["fields"]
    if change == "removed":
        del fields[1]
    elif change == "renamed":
        fields[1]["name"] = "try_number"
    elif change == "retyped":
        fields[1]["type"] = "double"
    elif change == "made nullable":
        fields[1]["type"] = ["null", "long"]
    elif change == "another default":
        fields[3]["default"] = "timeout"
    elif change == "a default lost":
        del fields[3]["default"]
    elif change == "added without default":
        fields.append({"name": "extra", "type": "long"})
    elif change == "nested removed":
        del nested[1]
    elif change == "nested added without default":
        nested.append({"name": "extra", "type": "string"})
    elif change == "record renamed":
        schema["name"] = "ActivityBroke"
    return schema


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("removed", "perdure.ActivityFailed.attempt was removed or renamed"),
        ("renamed", "perdure.ActivityFailed.attempt was removed or renamed"),
        ("retyped", "perdure.ActivityFailed.attempt changed its type from long to double"),
        ("made nullable", "changed its type from long to ['null', 'long']"),
        ("another default", "retry_state changed its default"),
        ("a default lost", "retry_state changed its default"),
        ("added without default", "ActivityFailed.extra is new and has no default"),
        ("nested removed", "perdure.FailureCause.message was removed"),
        ("nested added without default", "perdure.FailureCause.extra is new and has no default"),
        ("record renamed", "ActivityFailed became ActivityBroke"),
    ],
)
def test_a_change_that_breaks_is_found(change: str, reason: str) -> None:
    found = release.breaks(FAILED, changed(change))

    assert any(reason in text for text in found), found


def grown() -> Any:
    """Today's schema as the next release might have it."""
    schema = copy.deepcopy(FAILED)
    schema["fields"].insert(0, {"name": "extra", "type": "string", "default": "?"})
    nested = schema["fields"][3]["type"]["fields"][0]["type"]["items"]["fields"]
    nested.append({"name": "more", "type": {"type": "array", "items": "long"}, "default": []})
    schema["doc"] = "Said better"
    return schema


def test_a_field_with_a_default_may_be_added_anywhere() -> None:
    assert release.breaks(FAILED, grown()) == []


@pytest.mark.parametrize("name", release.FROZEN)
def test_a_frozen_record_may_not_grow(name: str) -> None:
    schema = today(name)
    schema["fields"].append({"name": "extra", "type": "long", "default": 0})

    assert release.breaks(today(name), schema) == [f"{name} is frozen, and differs"]
    schema["fields"].pop()
    schema["doc"] = "A word about it may change"
    assert release.breaks(today(name), schema) == []


def test_an_old_record_takes_todays_defaults_for_what_it_lacks() -> None:
    """The decoder compiled from an old schema, against fastavro resolving old to new."""
    old = copy.deepcopy(FAILED)
    lost = old["fields"].pop()
    cause = old["fields"][2]["type"]["fields"][0]["type"]["items"]
    cause["fields"] = [field for field in cause["fields"] if field["name"] != "encoded"]
    # The fields of an old schema may also stand in another order.
    old["fields"][0], old["fields"][1] = old["fields"][1], old["fields"][0]
    assert release.breaks(old, FAILED) == []
    record = full(ActivityFailed)
    value = fastavro.schemaless_reader(
        io.BytesIO(avro.encode(record)[10:]), fastavro.parse_schema(FAILED), None
    )
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(old), value)

    _, decode = Compiler().compile(old, avro.record_classes())
    found, end = decode(out.getvalue(), 0)

    assert end == len(out.getvalue())
    out.seek(0)
    resolved: Any = fastavro.schemaless_reader(
        out, fastavro.parse_schema(old), fastavro.parse_schema(FAILED)
    )
    assert getattr(found, lost["name"]) == lost["default"]
    assert found.failure.chain[0].encoded is None
    assert isinstance(record, ActivityFailed)
    assert found.failure.chain[0].message == record.failure.chain[0].message
    assert found.started_ms == resolved["started_ms"]
    assert found.activity_id == resolved["activity_id"]


def test_a_released_schema_that_differs_is_read_by_its_own_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = copy.deepcopy(FAILED)
    old["fields"].pop()
    released = ("ActivityFailed", fingerprint_of(old), lambda: old)
    monkeypatch.setattr(avro, "released_schemas", lambda kept: iter([released]))
    monkeypatch.setattr(avro, "_BY_PREFIX", avro._Registry().by_prefix)
    record = full(ActivityFailed)
    out = io.BytesIO()
    value = fastavro.schemaless_reader(
        io.BytesIO(avro.encode(record)[10:]), fastavro.parse_schema(FAILED), None
    )
    fastavro.schemaless_writer(out, fastavro.parse_schema(old), value)

    found = avro.decode(avro.frame(old) + out.getvalue())

    assert isinstance(found, ActivityFailed)
    assert found.started_ms == 0
    assert isinstance(record, ActivityFailed)
    assert found.failure == record.failure
    assert avro.kind_of(avro.frame(old)) is ActivityFailed
    with pytest.raises(avro.UnreadableRecordError):
        avro.decode(avro.frame(old) + out.getvalue() + b"\0")
