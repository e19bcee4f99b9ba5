"""A host's clock is wrong by as many milliseconds as a file beside the journal says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from perdure_topics.clock import SystemClock
from tests.broker.orders_app import JOURNAL

LOOK_S = 0.2


class WrongClock:
    """The machine's wall clock, and how far it is off; asked of the file five times a second."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._looked_s = -LOOK_S
        self._skew_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as this host has them."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_S:
            self._looked_s = now_s
            try:
                self._skew_ms = int(self._file.read_text() or 0)
            except OSError:
                self._skew_ms = 0
        return time.time_ns() // 1_000_000 + self._skew_ms


def obey_files() -> None:
    """Let the clock of this process obey its file, when it is a host: it has tables."""
    words = sys.argv
    if JOURNAL in os.environ and "--state-dir" in words:
        tables = Path(words[words.index("--state-dir") + 1])
        wrong = WrongClock(Path(os.environ[JOURNAL]).with_name(f"clock-{tables.name}"))
        SystemClock.wall_ms = wrong.wall_ms  # type: ignore[method-assign, assignment]
