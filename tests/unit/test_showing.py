"""Records as the gateway shows them: whole where they are small, and never left out."""

from __future__ import annotations

import json

import msgspec

from perdure_schemas.avro import encode
from perdure_schemas.events import WorkflowCompleted
from perdure_schemas.payloads import Payload
from perdure_schemas.replies import HistoryBatch, HistoryPage
from perdure_views.gateway.render import (
    BEGINNING_CHARS,
    VALUE_BYTES_MAX,
    history_of,
    payload_of,
    shown_payload,
)


def as_json(value: object) -> object:
    return json.loads(msgspec.json.encode(value))


def test_an_event_of_a_newer_release_is_shown_as_unreadable_and_the_others_as_they_are() -> None:
    framed = encode(WorkflowCompleted(result=Payload(data=b"1")))
    unknown = b"\xc3\x01" + b"\x07" * 8 + b"what a newer release wrote"
    batch = HistoryBatch(offset=5, pseq=4, time_ms=3, seq=2, events=[unknown, framed])
    page = HistoryPage(run_id="r", status="running", batches=[batch], next_seq=4)

    part = history_of(page, topic="t", partition=1)

    assert [(event.id, event.type) for event in part.events] == [
        (2, "Unreadable"),
        (3, "WorkflowCompleted"),
    ]
    assert "fingerprint" in part.events[0].attributes["message"]


def test_a_huge_payload_is_shown_by_its_beginning() -> None:
    data = json.dumps("x" * VALUE_BYTES_MAX).encode()

    shown = shown_payload(Payload(data=data))

    assert shown == {
        "encoding": "json/plain",
        "size": len(data),
        "text": data[:BEGINNING_CHARS].decode(),
        "cut": True,
    }


def test_what_is_no_json_though_it_says_so_is_text() -> None:
    shown = shown_payload(Payload(data=b"\xff{not json"))

    assert shown["text"] == "\ufffd{not json"
    assert "value" not in shown


def test_encrypted_payloads_are_told_by_their_encoding_and_size() -> None:
    shown = shown_payload(Payload(encoding="binary/encrypted", data=b"\x00" * 20))

    assert shown == {"encoding": "binary/encrypted", "size": 20}


def test_a_value_is_the_bytes_that_came_in() -> None:
    for raw in (b"12345678901234567890123", b'{"a": 1.10}', b"null"):
        payload = payload_of(msgspec.Raw(raw))
        assert payload.data == (b"" if raw == b"null" else raw)
    assert as_json(shown_payload(Payload(data=b"[1]"))) == {
        "encoding": "json/plain",
        "size": 3,
        "value": [1],
    }
