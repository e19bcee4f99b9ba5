"""The watch on the broker: says at once that it is away, every few seconds still, and when back."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from perdure_topics.kafka.settings import is_away

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import KafkaError

_LOG = logging.getLogger(__name__)
REPEAT_S: Final = 5.0
PROBE_S: Final = 2.0


class BrokerWatch:
    """All clients of a log tell it their troubles; it asks the broker itself before it speaks."""

    def __init__(self, address: str, probe: Callable[[float], bool]) -> None:
        self._address = address
        self._probe = probe
        self._lock = threading.Lock()
        self._watching = False
        self._away_since: float | None = None
        self._closed = threading.Event()

    @property
    def away_s(self) -> float | None:
        """For how long the broker is known to be away; None while it is not."""
        since = self._away_since
        return None if since is None else time.monotonic() - since

    def error(self, error: KafkaError) -> None:
        """Take what a client's error callback says."""
        if is_away(error):
            self.suspect(error.name())
        else:
            _LOG.warning("Kafka at %s: %s", self._address, error)

    def suspect(self, reason: str) -> None:
        """Look whether the broker is there; returns at once."""
        with self._lock:
            if self._watching or self._closed.is_set():
                return
            self._watching = True
        threading.Thread(
            target=self._run, args=(reason,), name="perdure-kafka-watch", daemon=True
        ).start()

    def close(self) -> None:
        """Say no more."""
        self._closed.set()

    def _run(self, reason: str) -> None:
        since = time.monotonic()
        said = 0.0
        while not self._closed.is_set():
            there = self._probe(PROBE_S)
            now = time.monotonic()
            if there:
                break
            self._away_since = since
            if not said:
                _LOG.warning(
                    "the Kafka broker at %s is away (%s): trying on", self._address, reason
                )
                said = now
            elif now - said >= REPEAT_S:
                _LOG.warning(
                    "the Kafka broker at %s is away for %.0f s: trying on",
                    self._address,
                    now - since,
                )
                said = now
            self._closed.wait(0.5)
        if said and not self._closed.is_set():
            _LOG.warning(
                "the Kafka broker at %s is back after %.1f s",
                self._address,
                time.monotonic() - since,
            )
        with self._lock:
            self._away_since = None
            self._watching = False
