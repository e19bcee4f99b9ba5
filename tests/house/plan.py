"""The plan of the house as data: rooms, floors, what each may import, and the size limits."""

from __future__ import annotations

from typing import Final

# Each room with its folder, from the ground up.
ROOMS: Final = {
    "perdure_schemas": "schemas",
    "perdure_topics": "topics",
    "perdure_actors": "actors",
    "perdure_views": "views",
    "perdure": "sdk",
}
# Folders that are no rooms, but whose files keep to the sizes.
OTHER_ROOTS: Final = ("tests", "examples", "benchmarks")

ROOMS_BELOW: Final = {
    "perdure_schemas": frozenset[str](),
    "perdure_topics": frozenset({"perdure_schemas"}),
    "perdure_actors": frozenset({"perdure_schemas", "perdure_topics"}),
    "perdure_views": frozenset({"perdure_schemas", "perdure_topics"}),
    "perdure": frozenset({"perdure_schemas", "perdure_topics", "perdure_actors", "perdure_views"}),
}

# The libraries that touch the world; only these rooms may name them.
LIBRARY_ROOMS: Final = {
    "confluent_kafka": frozenset({"perdure_topics"}),
    "rocksdict": frozenset({"perdure_topics"}),
    "lark": frozenset({"perdure_actors"}),
    "fastavro": frozenset({"perdure_schemas"}),
    "faust": frozenset({"perdure_views"}),
    "jwt": frozenset({"perdure_views"}),
    "starlette": frozenset({"perdure_views", "perdure"}),
    "uvicorn": frozenset({"perdure_views"}),
    "opentelemetry.sdk": frozenset({"perdure_views", "perdure"}),
    "opentelemetry.exporter": frozenset({"perdure_views", "perdure"}),
    "prometheus_client": frozenset({"perdure_views", "perdure"}),
    "typer": frozenset({"perdure"}),
    "rich": frozenset({"perdure"}),
}
# A topics module that reaches one of these is an adapter, however it is called.
ADAPTER_LIBRARIES: Final = frozenset({"confluent_kafka", "rocksdict", "websockets"})
ADAPTER_NAMES: Final = ("kafka", "embedded", "simulated", "remote")
# Packages that have no arrow between them, in either direction.
APART: Final = (("perdure_actors.worker", "perdure_actors.partition"),)

# schemas is pure data: these would make it act.
NOT_IN_SCHEMAS: Final = frozenset(
    {"asyncio", "logging", "random", "secrets", "socket", "subprocess", "threading", "time"}
)

_PURE: Final = frozenset(
    {
        "__future__",
        "abc",
        "base64",
        "bisect",
        "collections",
        "contextlib",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "functools",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "msgspec",
        "operator",
        "perdure_schemas",
        "re",
        "string",
        "struct",
        "types",
        "typing",
    }
)
CORE_MAY_IMPORT: Final = _PURE | {
    "cronsim",  # when a cron expression is due next: arithmetic over datetimes
    "perdure_actors.core",
    "zoneinfo",  # the zones it is due in; what is computed is recorded, never computed again
}
REPLAY_MAY_IMPORT: Final = _PURE | {
    "asyncio",
    "builtins",
    "contextvars",
    "inspect",
    "linecache",
    "perdure_actors.core",
    "perdure_actors.replay",
    "random",  # the seeded generator of a run; what is shared and unseeded, the guard forbids
    "sys",
    "traceback",
    "uuid",  # ids drawn from that generator
    "warnings",
    "weakref",
}
# The guard replaces these in workflow modules, so it must be able to name them.
GUARD_MAY_IMPORT_TOO: Final = frozenset(
    {"importlib", "os", "secrets", "socket", "subprocess", "threading", "time"}
)

FILE_LINES_MAX: Final = 700
FUNCTION_LINES_MAX: Final = 60
CLASS_METHODS_MAX: Final = 15
LINE_LENGTH_MAX: Final = 100
FOLDER_MODULES_MAX: Final = 31
SINGLE_IMPORTER_LINES: Final = 80
SINGLE_IMPORTERS_MAX: Final = 35
# Names in -ing that are nouns of the field.
ING_NAMES: Final = frozenset(
    {"counting", "indexing", "listing", "schema_framing", "testing", "time_skipping", "tracing"}
    | {"tuning"}
)
# Temporal's own paths of its protobuf modules.
TWICE_NAMES: Final = frozenset({"v1"})

# Names that say nothing; `common` is a word of Temporal's and so of the front door's.
DUMPING_NAMES: Final = frozenset({"base", "common", "helpers", "manager", "misc", "tools", "utils"})
FRONT_DOOR_MAY_CALL_IT: Final = frozenset({"common"})

# Each of these runs code that came with the data.
PICKLES: Final = frozenset(
    {"_pickle", "cloudpickle", "dill", "jsonpickle", "marshal", "pickle", "shelve"}
)
