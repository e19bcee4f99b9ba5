"""Figures of a chaos run: how long partitions had no owner, and what clients felt of it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from perdure_schemas.avro import MAGIC, decode
from perdure_schemas.transition import EpochBump, Transition
from tests.chaos.nemesis import Blow
from tests.simulation.ledger import Stored

LATE_MS = 10_000
"""A take-over so long after a blow was over is not of that blow."""


class Bump(NamedTuple):
    """A take-over that counted: when the broker took it, and by which process."""

    at_ms: int
    pid: int


class Turns:
    """Who owned one partition from when, and when something was appended by its owner."""

    def __init__(self, records: Iterable[Stored]) -> None:
        self.bumps: list[Bump] = []
        self.written: list[int] = []
        epoch = 0
        for record in sorted(records, key=lambda one: one.offset):
            if record.value is None or not record.value.startswith(MAGIC):
                continue
            envelope = decode(record.value)
            if isinstance(envelope, EpochBump) and envelope.epoch > epoch:
                epoch = envelope.epoch
                pid = envelope.owner.partition("@")[0]
                self.bumps.append(Bump(record.timestamp_ms, int(pid) if pid.isdigit() else 0))
            elif isinstance(envelope, Transition) and envelope.epoch == epoch:
                self.written.append(record.timestamp_ms)

    def owner_at(self, at_ms: int) -> int:
        """The process that owned it then."""
        place = bisect_right(self.bumps, at_ms, key=lambda bump: bump.at_ms)
        return self.bumps[place - 1].pid if place else 0

    def next_owner(self, blow: Blow) -> Bump | None:
        """Who took it over from the process that a blow hit."""
        for bump in self.bumps[bisect_right(self.bumps, blow.at_ms, key=lambda b: b.at_ms) :]:
            if bump.at_ms > blow.until_ms + LATE_MS:
                return None
            if bump.pid != blow.pid:
                return bump
        return None

    def written_after(self, at_ms: int) -> int | None:
        """When the first record after a moment was appended."""
        place = bisect_right(self.written, at_ms)
        return self.written[place] if place < len(self.written) else None


def turns_of(events: Iterable[Stored]) -> dict[int, Turns]:
    """The turns of each partition."""
    by_partition: dict[int, list[Stored]] = {}
    for record in events:
        by_partition.setdefault(record.partition, []).append(record)
    return {number: Turns(records) for number, records in by_partition.items()}


def fail_overs(blows: Iterable[Blow], turns: dict[int, Turns]) -> dict[str, list[int]]:
    """By fault: milliseconds from a blow at an owner to its successor's bump, each partition."""
    found: dict[str, list[int]] = {}
    for blow in blows:
        for one in turns.values():
            if not blow.pid or one.owner_at(blow.at_ms) != blow.pid:
                continue
            bump = one.next_owner(blow)
            if bump is not None:
                found.setdefault(blow.fault, []).append(bump.at_ms - blow.at_ms)
    return found


def returns(blows: Iterable[Blow], turns: dict[int, Turns]) -> dict[str, list[int]]:
    """By fault of the broker: from its return to the first record of each partition's owner."""
    found: dict[str, list[int]] = {}
    for blow in blows:
        if blow.name == "broker":
            after = [one.written_after(blow.until_ms) for one in turns.values()]
            found.setdefault(blow.fault, []).extend(
                at_ms - blow.until_ms for at_ms in after if at_ms is not None
            )
    return found


def felt(notes: Iterable[dict[str, Any]]) -> tuple[dict[str, list[int]], Counter[str]]:
    """By call: how long each took that was answered, in ms; and the errors of the others."""
    took: dict[str, list[int]] = {}
    errors: Counter[str] = Counter()
    for note in notes:
        if note["stage"] == "ok" and note["op"] != "result":
            took.setdefault(note["op"], []).append(round(note["took"] * 1000))
        elif note["stage"] == "info":
            errors[f"{note['op']}: {note['error'].partition(':')[0]}"] += 1
    return took, errors


def part(values: list[int], share: float) -> int:
    """The value that a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
