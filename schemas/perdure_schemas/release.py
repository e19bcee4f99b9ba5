"""The release check: which changes of a schema would break what was written, and what is kept.

`make records` keeps today's schemas as those of today's version, until that is out; from then on
a schema changes only as `breaks` allows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from perdure_schemas import fingerprints
from perdure_schemas.fingerprints import AVSC
from perdure_schemas.version import VERSION

RELEASED = AVSC / "released"
FROZEN = ("EpochBump", "Transition")


def breaks(old: Any, new: Any) -> list[str]:
    """Why records written with an old schema would not be read as the new one's; empty is good.

    Stricter than Avro: fields are only ever added, with a default. So an old record needs no
    resolution, and an old reader's field never changes its meaning.
    """
    # Only who changes a schema comes here.
    from fastavro.schema import to_parsing_canonical_form

    name = old["name"]
    if name in FROZEN and to_parsing_canonical_form(old) != to_parsing_canonical_form(new):
        return [f"{name} is frozen, and differs"]
    if name != new["name"]:
        return [f"{name} became {new['name']}"]
    # By name, because the place where a nested record is spelled out may move.
    old_records, new_records = _records(old), _records(new)
    return [
        reason
        for record, schema in old_records.items()
        if record in new_records
        for reason in _record_breaks(record, schema, new_records[record])
    ]


def _records(kind: Any) -> dict[str, Any]:
    """Every record that a type spells out, by name."""
    if isinstance(kind, list):
        return {name: found for part in kind for name, found in _records(part).items()}
    if not isinstance(kind, dict):
        return {}
    if kind["type"] != "record":
        return _records(kind.get("items", kind.get("values")))
    inner = _records([field["type"] for field in kind["fields"]])
    return {f"{kind['namespace']}.{kind['name']}": kind, **inner}


def _record_breaks(name: str, old: Any, new: Any) -> Iterator[str]:
    new_fields = {field["name"]: field for field in new["fields"]}
    for field in old["fields"]:
        where = f"{name}.{field['name']}"
        found = new_fields.pop(field["name"], None)
        if found is None:
            yield f"{where} was removed or renamed"
            continue
        old_type, new_type = _plain(field["type"]), _plain(found["type"])
        if old_type != new_type:
            yield f"{where} changed its type from {old_type} to {new_type}"
        if ("default" in field, field.get("default")) != ("default" in found, found.get("default")):
            yield f"{where} changed its default"
    for field in new_fields.values():
        if "default" not in field:
            yield f"{name}.{field['name']} is new and has no default"


def _plain(kind: Any) -> Any:
    """A type with its records by name only."""
    if isinstance(kind, list):
        return [_plain(part) for part in kind]
    if not isinstance(kind, dict):
        return kind
    if kind["type"] == "record":
        return f"{kind['namespace']}.{kind['name']}"
    inner = "items" if kind["type"] == "array" else "values"
    return {"type": kind["type"], inner: _plain(kind[inner])}


def keep(version: str = VERSION) -> Path:
    """Keep today's schemas as a version's; the folder they are in."""
    folder = RELEASED / version
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in sorted(AVSC.glob("*.avsc")):
        shutil.copyfile(file, folder / file.name)
    fingerprints.keep()
    return folder


def released() -> Iterator[tuple[str, str, Any]]:
    """Every released schema: its version, its record's name, and it."""
    for file in sorted(RELEASED.glob("*/*.avsc")):
        yield file.parent.name, file.stem, json.loads(file.read_text())
