"""The report of a chaos run, as Markdown."""

from __future__ import annotations

import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from tests.broker.kafka_jars import kafka_version
from tests.broker.processes import ROOT
from tests.chaos.figures import fail_overs, felt, part, returns, turns_of
from tests.chaos.nemesis import Blow
from tests.chaos.promises import Verdict

SHOWN_MAX = 20


def commit() -> str:
    """The commit of this clone, and whether something in it is not committed."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, check=False, capture_output=True, text=True
        )
        return done.stdout.strip()

    return git("rev-parse", "--short", "HEAD") + (" and changes" if git("diff", "HEAD") else "")


def table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    """A table."""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def spread(values: Mapping[str, list[int]]) -> list[tuple[object, ...]]:
    """Rows of how many, p50, p99 and max, in seconds."""
    return [
        (
            name,
            len(kept),
            *(f"{ms / 1000:.2f}" for ms in (part(kept, 0.5), part(kept, 0.99), max(kept))),
        )
        for name, kept in sorted(values.items())
        if kept
    ]


def report(
    *, seed: int, minutes: float, blows: list[Blow], verdict: Verdict, ended: list[str]
) -> str:
    """Everything that a reader wants to know, and to run it again."""
    turns = turns_of(verdict.events)
    over = fail_overs(blows, turns)
    took, errors = felt(verdict.notes)
    runs = verdict.ledger.runs.values()
    statuses = Counter(type(r.closing.event).__name__ if r.closing else "open" for r in runs)
    every = [ms for kept in over.values() for ms in kept]
    calls = Counter(note["stage"] for note in verdict.notes)
    wrong = [*ended, *verdict.broken]
    figures = [
        ("blows", len(blows)),
        ("runs", ", ".join(f"{count} {name}" for name, count in statuses.most_common())),
        ("calls of clients", f"{calls['ok']} answered, {calls['info']} not answered in time"),
        ("accepted transitions", len(verdict.ledger.entries)),
        ("take-overs", verdict.ledger.bumps),
        ("records of deposed owners, refused by readers", verdict.ledger.stale),
        ("promises broken", len(wrong)),
    ]
    where = (
        f"Kafka {kafka_version()}, Python {platform.python_version()}, "
        f"confluent-kafka {version('confluent-kafka')}, rocksdict {version('rocksdict')}, "
        f"{platform.system()} {platform.release()}"
    )
    heads = ("", "times", "p50 s", "p99 s", "max s")
    parts = [
        "# Chaos",
        f"`python -m tests.chaos --seed {seed} --minutes {minutes:g}` at commit {commit()}.",
        f"{where}.",
        table(("what", "figure"), figures),
        "## Fail-over: from the blow to the next owner's bump, each partition",
        table(heads, [*spread(over), *spread({"all": every})]),
        "## From the broker's return to the first record of each partition",
        table(heads, spread(returns(blows, turns))),
        "## What clients waited for answers",
        table(heads, spread(took)),
        table(("not answered in time", "times"), errors.most_common()),
        "## What went wrong",
        table(("fault", "times"), Counter(blow.fault for blow in blows).most_common()),
        "## Broken promises",
        "\n".join(f"- {text[:600]}" for text in wrong[:SHOWN_MAX]) or "None.",
    ]
    return "\n\n".join(text.strip("\n") for text in parts) + "\n"
