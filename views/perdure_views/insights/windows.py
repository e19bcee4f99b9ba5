"""Figures of many partitions summed by window. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from perdure_views.insights.rows import Figures, percentile, window_key, window_of

Key = tuple[int, int, str]


def added(rows: Iterable[tuple[bytes, Figures]]) -> dict[Key, Figures]:
    """Figures by window and type, over all partitions. What is added is commutative."""
    out: dict[Key, Figures] = {}
    for key, figures in rows:
        total = out.setdefault(window_of(key), Figures())
        total.started += figures.started
        total.activities += figures.activities
        total.attempts_failed += figures.attempts_failed
        total.blocked += figures.blocked
        total.closed = dict(Counter(total.closed) + Counter(figures.closed))
        total.latency = dict(Counter(total.latency) + Counter(figures.latency))
        total.failures = dict(Counter(total.failures) + Counter(figures.failures))
    return out


def summary(rows: Iterable[tuple[bytes, Figures]]) -> list[dict[str, Any]]:
    """The same as plain values: newest window first, then by type."""
    return [
        {
            "window_s": length_s,
            "start_s": start_s,
            "workflow_type": name,
            "started": figures.started,
            "closed": dict(sorted(figures.closed.items())),
            "latency": {str(bucket): n for bucket, n in sorted(figures.latency.items())},
            "p50_ms": percentile(figures.latency, 0.5),
            "p99_ms": percentile(figures.latency, 0.99),
            "activities": figures.activities,
            "attempts_failed": figures.attempts_failed,
            "failures": dict(sorted(figures.failures.items())),
            "blocked": figures.blocked,
        }
        for (length_s, start_s, name), figures in sorted(
            added(rows).items(), key=lambda item: (-item[0][1], item[0][0], item[0][2])
        )
    ]


def unsummed(rows: Iterable[Mapping[str, Any]]) -> list[tuple[bytes, Figures]]:
    """What `summary` gave, as figures that can be added to those of others.

    Raises KeyError, ValueError or TypeError for what it never gives.
    """
    return [
        (
            window_key(int(row["window_s"]), int(row["start_s"]), str(row["workflow_type"])),
            Figures(
                started=int(row["started"]),
                closed={str(name): int(n) for name, n in row["closed"].items()},
                latency={int(bucket): int(n) for bucket, n in row["latency"].items()},
                activities=int(row["activities"]),
                attempts_failed=int(row["attempts_failed"]),
                failures={str(name): int(n) for name, n in row["failures"].items()},
                blocked=int(row["blocked"]),
            ),
        )
        for row in rows
    ]


def windows(
    rows: Iterable[tuple[bytes, Figures]], *, length_s: int, since_s: int, workflow_type: str = ""
) -> dict[int, Figures]:
    """The windows of a length side by side, by their start: all types together, or one."""
    by_window: list[tuple[bytes, Figures]] = []
    for key, figures in rows:
        length, start_s, name = window_of(key)
        fits = length == length_s and start_s % length_s == 0 and start_s >= since_s
        if fits and workflow_type in ("", name):
            by_window.append((window_key(length, start_s, ""), figures))
    return {start_s: figures for (_, start_s, _), figures in sorted(added(by_window).items())}
