"""The table of docs/temporal.md: a row for each name of Temporal's SDK, and what we make of it.

What is there with the same signature needs no word. For everything else `rows.toml` says a verdict
and a reason; `make pages` writes the table.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from tests.parity import signatures

HERE = Path(__file__).parent
SAME, BETTER, DIFFERENT, ABSENT, NOT_YET = "same", "better", "different", "absent", "not yet"
VERDICTS = (SAME, BETTER, DIFFERENT, ABSENT, NOT_YET)
_MISSING: Any = object()


@dataclass(frozen=True)
class Said:
    """What rows.toml says of a name, or of a pattern of names."""

    verdict: str
    reason: str


@dataclass(frozen=True)
class Row:
    """A name of Temporal's, and what we make of it."""

    module: str
    name: str
    verdict: str
    note: str
    problem: str = ""
    """What a person has to mend, where the table cannot say it by itself."""


STREAMS = (
    "PollInput",
    "PollResult",
    "PublishEntry",
    "PublishInput",
    "PublisherState",
    "TopicHandle",
    "WorkflowStream",
    "WorkflowStreamClient",
    "WorkflowStreamItem",
    "WorkflowStreamState",
    "WorkflowTopicHandle",
)


@cache
def names() -> dict[str, dict[str, Any]]:
    """The kept list: by module and name, its kind, signature and members."""
    found: dict[str, dict[str, Any]] = json.loads((HERE / "temporalio-1.35-names.json").read_text())
    # The list was made without OpenTelemetry, so that these are named by hand.
    found["contrib.opentelemetry"] = {
        name: {"kind": "class", "signature": "", "members": []}
        for name in (
            "TracingInterceptor",
            "TracingWorkflowInboundInterceptor",
            "workflow",
        )
    }
    found["contrib.workflow_streams"] = {
        name: {"kind": "class", "signature": "", "members": []} for name in STREAMS
    }
    return found


@cache
def said() -> dict[str, dict[str, Said]]:
    """What rows.toml says, by module."""
    found: dict[str, dict[str, Said]] = {}
    for module, rows in tomllib.loads((HERE / "rows.toml").read_text()).items():
        for pattern, text in rows.items():
            verdict, _, reason = text.partition(": ")
            assert verdict in VERDICTS, f"{module}.{pattern}: {verdict!r} is no verdict"
            assert reason, f"{module}.{pattern}: give a reason after the verdict and a colon"
            found.setdefault(module, {})[pattern] = Said(verdict, reason)
    return found


def said_of(module: str, name: str) -> Said | None:
    """What is said of a name: by itself, else by the first pattern that fits."""
    here = said().get(module, {})
    if name in here:
        return here[name]
    for rows in (here, said().get("every module", {})):
        for pattern, one in rows.items():
            if fnmatchcase(name, pattern):
                return one
    return None


def ours(module: str, name: str) -> Any:
    """Our thing of a name, or nothing."""
    try:
        return getattr(importlib.import_module(f"perdure.{module}"), name, _MISSING)
    except ModuleNotFoundError as error:
        # A dependency that is not installed would make everything look absent.
        if not (error.name or "").startswith("perdure"):
            raise
        return _MISSING


def row_of(module: str, name: str, entry: dict[str, Any]) -> Row:
    """The row of a name."""
    word, thing = said_of(module, name), ours(module, name)
    if thing is _MISSING:
        if word is None:
            return Row(module, name, ABSENT, "", "is not there, and rows.toml does not say why")
        if word.verdict not in (ABSENT, NOT_YET):
            problem = f"rows.toml says {word.verdict!r}, and it is not there"
            return Row(module, name, word.verdict, word.reason, problem)
        if word.verdict == NOT_YET:
            return Row(module, name, "absent (not yet)", word.reason)
        return Row(module, name, ABSENT, word.reason)
    is_meant = name in said().get(module, {})
    if word is not None and (word.verdict == NOT_YET or (word.verdict == ABSENT and not is_meant)):
        # What a pattern says of many need not be so of each.
        word = None
    if word is not None and word.verdict == ABSENT:
        return Row(module, name, ABSENT, word.reason, "is there, and rows.toml says it is absent")
    return _held(module, name, entry, thing, word)


def _held(module: str, name: str, entry: dict[str, Any], thing: Any, word: Said | None) -> Row:
    """The row of a name that we have, held against theirs."""
    lacking = [member for member in entry.get("members", ()) if not _has(thing, member)]
    found = _differences(entry, thing)
    note = "" if word is None else word.reason
    verdict = SAME if word is None else word.verdict
    problem = ""
    if found and (word is None or word.verdict == SAME):
        problem = f"its signature differs, and rows.toml does not say so: {'; '.join(found)}"
    if lacking:
        without = f"without {', '.join(f'`{member}`' for member in lacking)}"
        note = f"{note}; {without}" if note else without
        verdict = DIFFERENT
    if found:
        note = f"{note} ({'; '.join(found)})"
    return Row(module, name, verdict, note, problem)


def _has(thing: Any, member: str) -> bool:
    if hasattr(thing, member):
        return True
    fields = {field.name for field in dataclasses.fields(thing)} if _is_data(thing) else set()
    hints: set[str] = set()
    for base in getattr(thing, "__mro__", ()):
        hints |= set(inspect.get_annotations(base))
    return member in fields | hints


def _is_data(thing: Any) -> bool:
    return isinstance(thing, type) and dataclasses.is_dataclass(thing)


def _differences(entry: dict[str, Any], thing: Any) -> list[str]:
    theirs = entry.get("signature") or ""
    if not theirs or not callable(thing):
        return []
    if isinstance(thing, type) and (issubclass(thing, Enum) or thing.__dict__.get("_is_protocol")):
        return []
    if theirs.startswith("(*args, **kwargs)"):
        return []
    try:
        inspect.signature(thing)
    except ValueError:
        return []
    return signatures.differences(theirs, thing)


def rows() -> Iterator[Row]:
    """All rows, in the order of the list."""
    for module, entries in names().items():
        for name, entry in entries.items():
            yield row_of(module, name, entry)


def section() -> str:
    """The table as Markdown."""
    made = list(rows())
    counts = Counter(row.verdict for row in made)
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    lines = [
        f"Of {len(made)} names: {total}.",
        "",
        "| module | name | | what is different |",
        "|---|---|---|---|",
    ]
    for row in made:
        note = row.note.replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {row.module} | `{row.name}` | {row.verdict} | {note} |")
    return "\n".join([*lines, ""])
