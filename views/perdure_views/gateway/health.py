"""Endpoints of health: findings with cause and remedy, and figures over windows.

Both come from the pure functions of insights. Where `perdure insights` run, their figures are
asked for; elsewhere the gateway reads the events itself, a slice whenever somebody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from perdure_schemas.avro import UnreadableRecordError
from perdure_schemas.findings import Finding
from perdure_topics.names import topic_name
from perdure_topics.ports import Log, LogError
from perdure_views.gateway.endpoints import Call, Endpoint, Param
from perdure_views.gateway.shapes import FindingShape, Health, Window
from perdure_views.insights.cursor import Following, Noticed
from perdure_views.insights.published import Published, UnreachableInsightsError, figures_of
from perdure_views.insights.rows import HOPPING_S, TUMBLING_S, Figures, percentile, window_of
from perdure_views.insights.windows import windows

SLICE_S: Final = 1.5
"""A look reads for so long; what is left is read by the next one."""
FRESH_S: Final = 2.0
"""All who look within this see the same."""
FINDINGS_MAX: Final = 500
SHOWN_MAX: Final = 200
QUEUES_MAX: Final = 20
TYPES_MAX: Final = 200
FINE_HOURS: Final = 2
"""Up to so many hours are shown by the minute, more by five minutes."""
_LASTS_S: Final = 3600
"""What happened once stands first for so long."""
_AGAIN: Final = frozenset(("retrying", "history_large"))
"""Told again as it grows: the newest of a run says all."""


class _Seen:
    """What a look at one queue, or at the findings topic, has shown."""

    def __init__(self) -> None:
        self.figures: list[tuple[bytes, Figures]] = []
        self.findings: list[Noticed] = []
        self.read = 0.0
        self.problem = ""


class Looker:
    """One task queue, looked at by one thread at a time for all who ask."""

    def __init__(self, log: Log, namespace: str, queue: str, addresses: list[str]) -> None:
        self._log = log
        self._topic = topic_name("events", namespace, queue) if queue else ""
        self._findings_topic = topic_name("findings", namespace)
        self._queue = queue
        self._addresses = addresses
        self._following: Following | None = None
        self._published: Published | None = None
        self._looking: asyncio.Task[_Seen] | None = None
        self._looked_s = float("-inf")

    async def look(self) -> _Seen:
        """How it stands; read further, unless that was done a moment ago."""
        now_s = time.monotonic()
        if self._looking is None or (self._looking.done() and now_s - self._looked_s > FRESH_S):
            self._looked_s = now_s
            self._looking = asyncio.create_task(asyncio.to_thread(self._look))
        return await asyncio.shield(self._looking)

    def _look(self) -> _Seen:
        seen = _Seen()
        until = time.monotonic() + SLICE_S
        try:
            if not self._topic:
                self._look_at_topic(seen, until)
            elif self._addresses:
                seen.figures = [row for one in self._addresses for row in figures_of(one)]
                seen.read = 1.0
            else:
                self._look_at_events(seen, until)
        except (UnreachableInsightsError, LogError, UnreadableRecordError) as error:
            seen.problem = str(error)
        return seen

    def _look_at_topic(self, seen: _Seen, until: float) -> None:
        seen.read = 1.0
        if self._published is None:
            topic = self._log.topic(self._findings_topic)
            if topic is None:
                return
            self._published = Published(self._log, topic, findings_max=FINDINGS_MAX)
        self._published.catch_up(until=until)
        # Whether it still is so, the topic does not say.
        seen.findings = [Noticed(finding=one, holds=None) for one in self._published.findings]

    def _look_at_events(self, seen: _Seen, until: float) -> None:
        if self._following is None:
            topic = self._log.topic(self._topic)
            if topic is None:
                raise LogError(f"task queue {self._queue!r} has no topics")
            self._following = Following(self._log, topic, self._queue, findings_max=FINDINGS_MAX)
        self._following.catch_up(until=until)
        seen.figures = list(self._following.figures())
        seen.findings = list(self._following.findings(time.time_ns() // 1_000_000))
        seen.read = self._following.read


async def describe_health(call: Call) -> Health:
    """Findings and figures of the namespace, or of one task queue."""
    queue, hours = call.text("queue"), call.number("hours")
    queues = [queue] if queue else (await call.backend.task_queues())[:QUEUES_MAX]
    insights = call.settings.insights
    lookers: dict[str, Looker] = call.shared.setdefault("health", {})
    for name in ("", *queues):
        if name not in lookers:
            addresses = [address for of, address in insights if of == name]
            lookers[name] = Looker(call.backend.log, call.backend.namespace, name, addresses)
    published, *seen = await asyncio.gather(*(lookers[name].look() for name in ("", *queues)))
    now_s = int(time.time())
    length_s = TUMBLING_S if hours <= FINE_HOURS else HOPPING_S
    rows = [row for one in seen for row in one.figures]
    told = [one for one in published.findings if not queue or one.finding.task_queue == queue]
    own = [one for look in seen for one in look.findings]
    shown = newest([*told, *own], now_s * 1000)
    return Health(
        task_queues=queues,
        workflow_types=sorted({window_of(key)[2] for key, _ in rows})[:TYPES_MAX],
        read=min((one.read for one in seen), default=1.0),
        problems=[one.problem for one in (published, *seen) if one.problem],
        findings=[_finding(one) for one in shown],
        window_s=length_s,
        from_s=(now_s - hours * 3600) // length_s * length_s,
        to_s=now_s // length_s * length_s,
        windows=_windows(rows, call, now_s - hours * 3600, length_s),
    )


def newest(found: Iterable[Noticed], now_ms: int) -> list[Noticed]:
    """Each thing once: first what still is so, then what was, the newest first."""
    each: dict[tuple[str, str], Noticed] = {}
    for one in sorted(found, key=lambda one: one.finding.time_ms):
        finding = one.finding
        name = finding.run_id if finding.kind in _AGAIN else finding.finding_id
        # What the log itself shows comes last of two that say the same: it knows whether it holds.
        each[(finding.kind, name)] = one

    def is_past(one: Noticed) -> bool:
        if one.holds is None:
            return now_ms - one.finding.time_ms > _LASTS_S * 1000
        return not one.holds

    return sorted(each.values(), key=lambda one: (is_past(one), -one.finding.time_ms))[:SHOWN_MAX]


def _finding(one: Noticed) -> FindingShape:
    finding: Finding = one.finding
    return FindingShape(
        finding_id=finding.finding_id,
        kind=finding.kind,
        task_queue=finding.task_queue,
        workflow_id=finding.workflow_id,
        run_id=finding.run_id,
        time_ms=finding.time_ms,
        message=finding.message,
        cause=finding.cause,
        remedy=finding.remedy,
        holds=one.holds,
    )


def _windows(
    rows: list[tuple[bytes, Figures]], call: Call, since_s: int, length_s: int
) -> list[Window]:
    found = windows(
        rows,
        length_s=length_s,
        since_s=since_s // length_s * length_s,
        workflow_type=call.text("type"),
    )
    return [
        Window(
            start_s=start_s,
            started=figures.started,
            closed=figures.closed,
            p50_ms=percentile(figures.latency, 0.5),
            p90_ms=percentile(figures.latency, 0.9),
            p99_ms=percentile(figures.latency, 0.99),
            activities=figures.activities,
            attempts_failed=figures.attempts_failed,
            failures=figures.failures,
            blocked=figures.blocked,
        )
        for start_s, figures in found.items()
    ]


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/api/v1/health",
        name="describeHealth",
        says="Findings with cause and remedy, and figures over windows of time.",
        role="read",
        answers=describe_health,
        params=(
            Param(name="queue", says="only this task queue"),
            Param(name="type", says="figures of this workflow type only"),
            Param(
                name="hours",
                says="figures of so many hours: up to 2 by the minute, more by five minutes",
                is_number=True,
                default="1",
                least=1,
                most=24,
            ),
        ),
        answer=Health,
    ),
)
