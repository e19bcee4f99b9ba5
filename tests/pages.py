"""Makes the pages that show a table, and the table of docs/temporal.md. `make pages` runs it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perdure_actors.core.activity_states import (
    GONE,
    ROWS,
    SCHEDULED,
    TASK,
    UNDER_WAY,
    Row,
    cells,
)
from perdure_schemas import avro, findings, replies, tasks, transition
from perdure_topics.names import TOPICS, topic_settings
from tests import local_twins
from tests.house.plan import ROOMS as ROOM_FOLDERS
from tests.house.reading import Module, house
from tests.parity import table

DOCS = Path(__file__).parent.parent / "docs"
ABSENT = DOCS.parent / "sdk" / "perdure" / "_alias" / "absent.json"
NOTE = "<!-- Made by `make pages` from {source}: change that, not this. -->"
QUOTING = (
    "`{ns}` is the namespace, `{queue}` the task queue; outside letters, digits and `-` each"
    " byte of them is written as `_` and two hexadecimal digits."
)
FRAMING = (
    "Avro, in single-object encoding. A field with a default need not be given to an Avro"
    " library that fills defaults in, as fastavro and Java's do."
)
TABLE_MARK = "<!-- Made by `make pages` from tests/parity: change rows.toml, not what follows. -->"
ROOMS = (
    (avro.COMMAND_MODULES, "Commands", "What may be asked of a host; any producer may write them"),
    (avro.EVENT_MODULES, "Events", "What has happened; they stand inside transitions"),
    ((transition,), "The events topic", "The frozen envelope, and what it carries"),
    ((tasks,), "Tasks", "What an activity worker is told to run"),
    ((replies,), "Replies", "What is answered to an asker"),
    ((findings,), "Findings", "What insights found"),
)


def topics_page() -> str:
    """The table of topics."""
    lines = [
        NOTE.format(source="topics/perdure_topics/names.py"),
        "# Topics",
        "",
        QUOTING,
        "",
        "| topic | key | kept | largest record | writers | readers |",
        "|---|---|---|---|---|---|",
    ]
    for row in TOPICS:
        days, hours = divmod(row.retention_ms // 3_600_000, 24)
        kept = "for ever" if row.retention_ms < 0 else f"{days} d" if days else f"{hours} h"
        size = f"{row.bytes_max // 2**20} MiB"
        cells = [f"`{row.template}`", row.key, kept, size, row.writers, row.readers]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Settings that every topic must have; a host refuses others:", ""]
    shared = set.intersection(*(set(topic_settings(row.role).items()) for row in TOPICS))
    lines += [f"- `{name}={value}`" for name, value in sorted(shared)]
    return "\n".join([*lines, ""])


def records_page() -> str:
    """Every record with its fields, and after them the records nested in them."""
    lines = [
        NOTE.format(source="schemas/perdure_schemas/avsc"),
        "# Records",
        "",
        FRAMING,
    ]
    nested: dict[str, Any] = {}
    top = {cls.__name__ for cls in avro.framed_records()}
    for modules, title, about in ROOMS:
        lines += ["", f"## {title}", "", f"{about}."]
        for cls in avro.framed_records():
            if cls.__module__ in {module.__name__ for module in modules}:
                schema = json.loads(avro.schema_text(cls.__name__))
                _gather(schema["fields"], nested)
                lines += _record(schema)
    lines += ["", "## Inside others", "", "These do not stand alone."]
    for name in sorted(nested.keys() - top):
        lines += _record(nested[name])
    return "\n".join([*lines, ""])


def _record(schema: Any) -> list[str]:
    lines = ["", f"### {schema['name']}", "", f"{schema['doc']}.", ""]
    lines += ["| field | type | default | |", "|---|---|---|---|"]
    for field in schema["fields"]:
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        cells = [f"`{field['name']}`", _type(field["type"]), default, field["doc"]]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        return " or ".join(_type(part) for part in kind)
    if isinstance(kind, str):
        name = kind.removeprefix("perdure.")
        return name if name == kind else f"[{name}](#{name.lower()})"
    if kind["type"] == "record":
        return f"[{kind['name']}](#{kind['name'].lower()})"
    return f"{kind['type']} of {_type(kind.get('items', kind.get('values')))}"


def _gather(kind: Any, found: dict[str, Any]) -> None:
    """Every record spelled out inside a type, by name."""
    if isinstance(kind, list):
        for part in kind:
            _gather(part, found)
    elif isinstance(kind, dict):
        if kind.get("type") == "record":
            found.setdefault(kind["name"], kind)
            _gather(kind["fields"], found)
        else:
            for inner in ("type", "items", "values"):
                _gather(kind.get(inner), found)


def temporal_page() -> str:
    """The page as people wrote it, with today's table under its last line of theirs."""
    written, mark, _ = (DOCS / "temporal.md").read_text().partition(TABLE_MARK)
    assert mark, f"docs/temporal.md has lost its line {TABLE_MARK!r}"
    return f"{written}{mark}\n\n{table.section()}"


def modules_page() -> str:
    """Every module with its first line, by package."""
    lines = [NOTE.format(source="the first lines of the modules"), "# Every module", ""]
    lines += [
        "By package, each with the first line of its own. [The house](house.md) says why.",
        "",
    ]
    package = ""
    for name, module in sorted(house().items(), key=lambda item: _place(*item)):
        here = name if module.is_package else name.rpartition(".")[0]
        first = (ast.get_docstring(module.tree) or "").partition("\n")[0].rstrip(":")
        if here != package:
            lines += ["", f"## `{here}`", ""] if package else [f"## `{here}`", ""]
            package = here
            if module.is_package:
                lines += [first, "", "| module | |", "|---|---|"]
        if not module.is_package:
            lines.append(f"| `{name.rpartition('.')[2]}` | {first.replace('|', '/')} |")
    return "\n".join([*lines, ""])


def _place(name: str, module: Module) -> tuple[int, str, str]:
    package = name if module.is_package else name.rpartition(".")[0]
    return list(ROOM_FOLDERS).index(module.room), package, "" if module.is_package else name


def activity_states_page() -> str:
    """The states of an activity: two pictures of the table, and the table."""
    lines = [
        NOTE.format(source="actors/perdure_actors/core/activity_states.py"),
        "# The states of an activity",
        "",
        "The phase of an activity says where its attempt is; its hold says what is to become of",
        "the attempt after it. Workers, deadlines and people decide only which event there is.",
        "Every cell of the table is taken in `tests/unit/test_activity_states.py`, and there is no",
        "other way.",
        "",
        "## Phases",
        "",
    ]
    steps = {(phase, row.phase or phase, row.event) for (phase, _, _), row in cells(ROWS)}
    lines += _picture([("[*]", SCHEDULED, "asked for"), *steps])
    lines += ["", "## Holds", "", "An attempt that is scheduled or started is under way.", ""]
    lines += _picture(
        [
            (_whole(phase, hold), _whole(row.phase or phase, _hold(row, hold)), event)
            for (phase, hold, event), row in cells(ROWS)
            if row.phase != GONE
        ]
    )
    lines += ["", "## The table", "", "| event | in | with hold | leads to | hold then | effect |"]
    lines.append("|---|---|---|---|---|---|")
    for row in ROWS:
        parts = [
            row.event,
            ", ".join(row.phases),
            ", ".join(hold or "free" for hold in row.holds),
            row.phase or "the same",
            "" if row.phase == GONE else "the same" if row.hold is None else row.hold or "free",
            {"": "", TASK: "a task"}.get(row.effect, f"stop: {row.effect}"),
        ]
        lines.append(f"| {' | '.join(parts)} |")
    return "\n".join([*lines, ""])


def _picture(arrows: Iterable[tuple[str, str, str]]) -> list[str]:
    """A state diagram; what leads nowhere else is left out, and events of one arrow share it."""
    said: dict[tuple[str, str], set[str]] = {}
    for here, there, event in arrows:
        if here != there:
            said.setdefault((here, "[*]" if there == GONE else there), set()).add(event)
    lines = ["```mermaid", "stateDiagram-v2"]
    for (here, there), events in sorted(said.items()):
        lines.append(f"    {here} --> {there}: {'<br/>'.join(sorted(events))}")
    return [*lines, "```"]


def _hold(row: Row, hold: str) -> str:
    return hold if row.hold is None or row.phase == GONE else row.hold


def _whole(phase: str, hold: str) -> str:
    """A phase and a hold as one state of a picture."""
    return f"{'under_way' if phase in UNDER_WAY else phase}{f'_{hold}' if hold else ''}"


PAGES = {
    "activity-states.md": activity_states_page,
    "modules.md": modules_page,
    "topics.md": topics_page,
    "records.md": records_page,
    "temporal.md": temporal_page,
}


def absent_names() -> str:
    """Why names of Temporal's are not there, for those who import them by Temporal's name."""
    found: dict[str, dict[str, str]] = {}
    for row in table.rows():
        if row.verdict == table.ABSENT:
            found.setdefault(row.module, {})[row.name] = row.note
    return json.dumps(found, indent=0, ensure_ascii=False) + "\n"


def write() -> None:
    """Write each page, and the code that is made from other code."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
    ABSENT.write_text(absent_names())
    local_twins.write()


if __name__ == "__main__":
    write()
