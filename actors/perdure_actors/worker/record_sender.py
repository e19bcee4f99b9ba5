"""How a worker's records reach the log at least once. It knows no record's meaning.

A record is kept until the log has acknowledged it. When an appender fails, another is opened and
everything that is not acknowledged goes again, in order, with the very same bytes.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from perdure_topics.ports import Appender, Clock, Headers, Log, LogError, LogFullError, Report

UNACKED_MAX = 10_000
REOPEN_MS_MAX = 5_000
SILENCE_MS = 2_000
SILENCE_REPEAT_MS = 5_000
# How the log's own error names a record that its topic does not take.
_TOO_LARGE = "MSG_SIZE_TOO_LARGE"

logger = logging.getLogger(__name__)


class Parcel:
    """A record under way, and whom to tell what became of it."""

    __slots__ = (
        "headers",
        "key",
        "on_ack",
        "on_refused",
        "partition",
        "queued_ms",
        "subject",
        "topic",
        "value",
    )

    def __init__(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None,
        headers: Headers,
        on_ack: Callable[[Parcel], None] | None,
        on_refused: Callable[[Parcel, str], None] | None,
        subject: object,
        queued_ms: int,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.value = value
        self.key = key
        self.headers = headers
        self.on_ack = on_ack
        self.on_refused = on_refused
        self.subject = subject
        self.queued_ms = queued_ms


class Outbox:
    """Appends records until the log has them; the owner calls `turn` whenever its bell rang."""

    def __init__(self, log: Log, *, clock: Clock, on_ready: Callable[[], None]) -> None:
        self._log = log
        self._clock = clock
        self._on_ready = on_ready
        self._appender: Appender | None = None
        self._in_flight: dict[Parcel, None] = {}
        self._backlog: deque[Parcel] = deque()
        self._failures = 0
        self._reopen_at_ms = 0
        self._last_ack_ms = clock.monotonic_ms()
        self._complained_ms = -1

    @property
    def unacked(self) -> int:
        """How many records the log has not acknowledged yet."""
        return len(self._in_flight) + len(self._backlog)

    @property
    def outcomes_unacked(self) -> int:
        """How many of them somebody waits for: not leases, which the next one replaces."""
        waiting = (*self._in_flight, *self._backlog)
        return sum(parcel.on_ack is not None for parcel in waiting)

    def send(
        self,
        topic: str,
        partition: int,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        on_ack: Callable[[Parcel], None] | None = None,
        on_refused: Callable[[Parcel, str], None] | None = None,
        subject: object = None,
    ) -> None:
        """Queue a record behind all earlier ones.

        on_refused is called, with the reason, when the log will not take this one record.
        """
        parcel = Parcel(
            topic,
            partition,
            value,
            key=key,
            headers=headers,
            on_ack=on_ack,
            on_refused=on_refused,
            subject=subject,
            queued_ms=self._clock.monotonic_ms(),
        )
        if self._backlog:
            self._backlog.append(parcel)
        elif self._appender is None:
            self._backlog.append(parcel)
            self._work_off()
        elif not self._append(parcel):
            self._backlog.append(parcel)

    def turn(self) -> None:
        """Take reports, open another appender after a failure, and send what waits."""
        appender = self._appender
        if appender is not None:
            reports = appender.reports()
            if reports:
                self._take(reports)
        if self._backlog:
            self._work_off()
        if self._in_flight or self._backlog:
            self._complain_of_silence()

    def close(self, *, flush_s: float = 0.0) -> None:
        """Close the appender; what is not acknowledged by then is given up."""
        if self._appender is not None:
            self._appender.close(flush_s=flush_s)
            self._take(self._appender.reports())
        self._appender = None
        lost = self.outcomes_unacked
        if lost:
            logger.warning(
                "%d records were not acknowledged by the log at %s before the worker closed;"
                " their attempts will be tried again",
                lost,
                self._log.address,
            )

    def _take(self, reports: list[Report]) -> None:
        failed: list[tuple[Parcel, str]] = []
        for report in reports:
            parcel = report.tag
            assert isinstance(parcel, Parcel)
            if report.error is None and report.offset is not None:
                if parcel in self._in_flight:
                    del self._in_flight[parcel]
                    if parcel.on_ack is not None:
                        parcel.on_ack(parcel)
            else:
                failed.append((parcel, report.error or "its fate is unknown"))
        if len(failed) < len(reports):
            self._heard_from_log()
        if failed:
            self._fail(failed)

    def _heard_from_log(self) -> None:
        self._failures = 0
        self._last_ack_ms = self._clock.monotonic_ms()
        if self._complained_ms >= 0:
            self._complained_ms = -1
            logger.info("the log at %s acknowledges records again", self._log.address)

    def _fail(self, failed: list[tuple[Parcel, str]]) -> None:
        parcel, error = failed[0]
        logger.warning(
            "appending to %s/%d on %s failed (%s); %d records will be sent again",
            parcel.topic,
            parcel.partition,
            self._log.address,
            error,
            self.unacked,
        )
        self._drop_if_nowhere(parcel)
        self._reopen()
        # A record that can never land would stop all that come behind it.
        refused = [item for item in failed if _TOO_LARGE in item[1] and item[0].on_refused]
        for parcel, _ in refused:
            if parcel in self._backlog:
                self._backlog.remove(parcel)
        for parcel, error in refused:
            if parcel.on_refused is not None:
                parcel.on_refused(parcel, error)

    def _reopen(self) -> None:
        """Have everything that is not acknowledged go again, through another appender."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None
        self._requeue()
        self._failures += 1
        self._back_off()

    def _requeue(self) -> None:
        waiting = self._backlog
        self._backlog = deque(self._in_flight)
        self._backlog.extend(waiting)
        self._in_flight.clear()

    def _back_off(self) -> None:
        wait_ms = 0 if self._failures == 1 else min(50 << min(self._failures, 8), REOPEN_MS_MAX)
        self._reopen_at_ms = self._clock.monotonic_ms() + wait_ms

    def _work_off(self) -> None:
        if self._appender is None:
            if self._clock.monotonic_ms() < self._reopen_at_ms:
                return
            try:
                # A timeout of 0: a result is worth trying for as long as this process lives.
                self._appender = self._log.appender(on_ready=self._on_ready, timeout_ms=0)
            except LogError as error:
                logger.warning("cannot append to the log at %s: %s", self._log.address, error)
                self._failures += 1
                self._back_off()
                return
        while self._backlog and self._appender is not None:
            parcel = self._backlog.popleft()
            if not self._append(parcel):
                self._backlog.appendleft(parcel)
                return

    def _append(self, parcel: Parcel) -> bool:
        """Whether a record is on its way; False when there is no room for it now."""
        assert self._appender is not None
        self._in_flight[parcel] = None
        try:
            self._appender.append(
                parcel.topic,
                parcel.partition,
                parcel.value,
                key=parcel.key,
                headers=parcel.headers,
                tag=parcel,
            )
        except LogFullError:
            # Reports make room in a queue, and a disk is cleared by people: both are waited for.
            del self._in_flight[parcel]
            return False
        except LogError as error:
            logger.warning("this writer to %s has ended: %s", self._log.address, error)
            self._drop_if_nowhere(parcel)
            self._reopen()
        except Exception as error:
            # A place or a key that no log takes, as a task of anybody's may name.
            self._refuse(parcel, f"{type(error).__name__}: {error}")
        return True

    def _drop_if_nowhere(self, parcel: Parcel) -> None:
        """Give a record up whose topic or partition does not exist: it would stop all others."""
        if not self._failures:
            return
        try:
            info = self._log.topic(parcel.topic)
        except LogError:
            return
        if info is None or not 0 <= parcel.partition < info.partitions:
            self._refuse(parcel, f"{self._log.address} has no such place")

    def _refuse(self, parcel: Parcel, reason: str) -> None:
        self._in_flight.pop(parcel, None)
        logger.error("a record for %s/%d is dropped: %s", parcel.topic, parcel.partition, reason)
        if parcel.on_ack is not None:
            parcel.on_ack(parcel)

    def _complain_of_silence(self) -> None:
        now = self._clock.monotonic_ms()
        oldest = next(iter(self._in_flight), None) or self._backlog[0]
        waited_ms = now - max(oldest.queued_ms, self._last_ack_ms)
        if waited_ms < SILENCE_MS:
            return
        if self._complained_ms >= 0 and now - self._complained_ms < SILENCE_REPEAT_MS:
            return
        self._complained_ms = now
        logger.warning(
            "the log at %s has acknowledged nothing for %.0f s; %d records wait, the oldest for"
            " %s/%d. They are kept and tried for as long as this worker runs",
            self._log.address,
            waited_ms / 1000,
            self.unacked,
            oldest.topic,
            oldest.partition,
        )
