"""Figures of many partitions added up, as people and programs read them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from perdure_views.insights.rows import Figures, percentile, window_of

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
