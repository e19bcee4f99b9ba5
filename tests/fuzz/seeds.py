"""What honest senders write, for each decoder that does not read records."""

from __future__ import annotations

import json
from typing import Final

import msgspec

from perdure_actors import table_layout
from perdure_actors.visibility.page_tokens import Token, encode_token
from perdure_schemas.answers.run_pages import Mark, MergedRuns
from perdure_schemas.avro import schema_text
from perdure_topics.wire import frames

_FILTERS: Final = (
    "WorkflowType = 'a' AND (ExecutionStatus IN ('running', \"failed\") OR NOT x.y >= 1.5e3)",
    "StartTime BETWEEN '2026-01-01T00:00:00Z' AND '2027-01-01' ORDER BY CloseTime DESC",
    "`odd name` STARTS_WITH 'a\\'b' AND other IS NOT NULL",
    "a != true AND b NOT IN (1, -2, .5)",
    "((((a = 1))))",
)
_CRONS: Final = (
    "0 9 * * 1-5",
    "*/5 0-23/2 1,15 * MON",
    "@every 1h30m",
    "CRON_TZ=Europe/Berlin 0 9 * * *",
    "@daily",
    "0 0 29 2 *",
)
_JSON: Final = (
    b'{"a": [1, 2.5e3, null, "\\u00e9"], "b": {"c": true}}',
    b"[[[[1]]]]",
    b"12",
    b'"x"',
)
_FRAMES: Final = (
    frames.encode([frames.Hello(frames.VERSION, "1")]),
    frames.encode([frames.Append(1, 0, [("ns.q.commands", 0, b"v", b"k", (("h", b"x"),))])]),
    frames.encode([frames.Follow(1, "ns.replies", 0, 5), frames.Took(1, 100), frames.Unfollow(1)]),
    frames.encode([frames.Acks(1, [(0, 1, 2, None)]), frames.Beat()]),
    frames.encode([frames.Records(1, 0, [(b"k", b"v", 1, ())]), frames.Lost(1, True, "gone")]),
)
_META: Final = table_layout.encode(table_layout.Meta(cluster_id="c", marks={"1": 2}))

SCHEMAS: Final = tuple(schema_text(name) for name in ("StartWorkflow", "SignalWorkflow"))
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "schemas of a registry": (
        *(text.encode() for text in SCHEMAS),
        json.dumps(
            {"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}
        ).encode(),
        b'{"type": "record"' * 200,
    ),
    "frames of clients": _FRAMES,
    "frames of engines": _FRAMES,
    "page tokens of a partition": (encode_token(Token(1, b"place", 5)),),
    "page tokens of a list": (MergedRuns([Mark("q", 0), Mark("q", 1)]).token,),
    "filters": tuple(text.encode() for text in _FILTERS),
    "cron expressions": tuple(text.encode() for text in _CRONS),
    "trace headers": (b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01",),
    "traceparents": (b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01-what",),
    "payloads": (*_JSON, msgspec.json.encode({"k" * 50: list(range(50))})),
    "table rows": (_META,),
    "names": (b"orders", "bestellungen-ü".encode(), b"a.b_c", b"x" * 201),
    "index values": (b"2026-01-01T00:00:00.123456789Z", b"the quick Brown fox", b"9999-12-31"),
}
