"""Every place where foreign bytes are read: each refuses them by its own error, and by no other."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from perdure_actors import table_layout
from perdure_actors.core import cron
from perdure_actors.visibility.language import FilterError, parse
from perdure_actors.visibility.page_tokens import BadTokenError, decode_token
from perdure_actors.visibility.values import time_ns_of, words_of
from perdure_actors.worker.task_checks import read_task
from perdure_schemas.answers.run_pages import ListTokenError, MergedRuns
from perdure_schemas.avro import UnreadableRecordError, decode
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.confluent import decode_confluent, fitting
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.payloads import Payload
from perdure_schemas.tracing import adopt_headers, parse_context
from perdure_topics.fold import Cursor, fold_record
from perdure_topics.names import InvalidNameError, check_workflow_id, quote, role_of
from perdure_topics.ports import LogError, StoredRecord
from perdure_topics.wire import frames
from perdure_views.gateway.admission import ADMITTED, admit
from perdure_views.gateway.principals import Principal
from tests.fuzz.mutations import TEXTS, any_bytes, bent, corpus
from tests.fuzz.seeds import SCHEMAS, SEEDS

CONVERTER: Final = DefaultPayloadConverter()
PERSON: Final = Principal(name="p", role="admin")
HERE: Final = frames.Place(partition=0, partitions=1, reply_partitions=1)
ENCODINGS: Final = ("json/plain", "binary/plain", "binary/null", "json/protobuf", "")


class Decoder(NamedTuple):
    """One place where foreign bytes are read."""

    name: str
    read: Callable[[bytes], object]
    refuses: tuple[type[Exception], ...]
    """What it may raise."""


def stored(value: bytes | None) -> StoredRecord:
    """A record that holds some bytes."""
    return StoredRecord("t", 0, 0, value, value, (), 0)


def text_of(data: bytes) -> str:
    """Bytes as a text of any signs."""
    return data.decode("utf-8", "replace")


def _filter(data: bytes) -> object:
    return parse.__wrapped__(text_of(data)[:20_000])


def _payload(data: bytes) -> object:
    encoding = ENCODINGS[len(data) % len(ENCODINGS)]
    return CONVERTER.from_payload(Payload(encoding=encoding, data=data))


def _admitted(data: bytes) -> object:
    row = ("ns.q.commands", 0, data, data[:50], (("traceparent", data[:600]),))
    return admit(PERSON, row, HERE, names=len(data) % 2 == 0)


def _fold(data: bytes) -> object:
    return fold_record(Cursor(), stored(data))


def _headers(data: bytes) -> object:
    start = StartWorkflow(workflow_id="w", workflow_type="W")
    return adopt_headers(start, (("traceparent", data), ("tracestate", data[:9])))


def _confluent(data: bytes) -> object:
    return decode_confluent(b"\0\0\0\0\1" + data, SCHEMAS[len(data) % len(SCHEMAS)])


def _names(data: bytes) -> object:
    name = text_of(data)
    role_of(name)
    check_workflow_id(name)
    return quote(name, "task queue")


def _index(data: bytes) -> object:
    return words_of(text_of(data)), time_ns_of(text_of(data))


LISTED: Final = (("q", 0), ("q", 1))

DECODERS: Final = (
    Decoder("records", decode, (UnreadableRecordError,)),
    Decoder("records, by the gateway", _admitted, (LogError,)),
    Decoder("events", _fold, (UnreadableRecordError,)),
    Decoder("tasks", lambda data: read_task(stored(data)), ()),
    Decoder("records in Confluent's framing", _confluent, (UnreadableRecordError,)),
    Decoder("schemas of a registry", lambda data: fitting(text_of(data)), (ValueError,)),
    Decoder("frames of clients", frames.decode_from_client, (ValueError,)),
    Decoder("frames of engines", frames.decode_from_engine, (ValueError,)),
    Decoder("page tokens of a partition", decode_token, (BadTokenError,)),
    Decoder("page tokens of a list", lambda data: MergedRuns.of(LISTED, data), (ListTokenError,)),
    Decoder("filters", _filter, (FilterError,)),
    Decoder("cron expressions", lambda data: cron.problem_of(text_of(data)), ()),
    Decoder("trace headers", _headers, ()),
    Decoder("traceparents", lambda data: parse_context(text_of(data), text_of(data)), ()),
    Decoder("payloads", _payload, (ValueError, TypeError)),
    Decoder("table rows", table_layout.decode_meta, (ValueError,)),
    Decoder("names", _names, (InvalidNameError,)),
    Decoder("index values", _index, ()),
)


def any_input(rng: Random, decoder: Decoder) -> bytes:
    """Bytes for a decoder: most of them nearly right."""
    seeds = SEEDS.get(decoder.name)
    if seeds is None:
        return any_bytes(rng, tuple(ADMITTED))
    way = rng.random()
    if way < 0.1:
        return rng.randbytes(rng.choice((0, 1, 10, 200)))
    if way < 0.2:
        return rng.choice(TEXTS).encode("utf-8", "replace")
    if way < 0.25:
        return bent(rng, rng.choice(corpus()))
    return bent(rng, rng.choice(seeds))


def try_one(decoder: Decoder, data: bytes) -> str:
    """Read foreign bytes; what went wrong, empty for what was read or refused as it should be."""
    try:
        decoder.read(data)
    except decoder.refuses:
        return ""
    except Exception as error:
        return f"{decoder.name}: {type(error).__name__}: {error} for {data[:200]!r}"
    return ""
