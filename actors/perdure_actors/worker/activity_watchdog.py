"""Tells when an async activity blocks the event loop, and which one it is. It only looks."""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import CodeType, FrameType

from perdure_actors.worker.attempt import Attempt

STUCK_S = 1.0
REPEAT_S = 10.0
LOOK_S = 0.25

logger = logging.getLogger(__name__)


class LoopWatchdog:
    """A thread that warns when the event loop has not turned for a second."""

    def __init__(self, runner: CodeType, *, loop_thread_id: int, stuck_s: float = STUCK_S) -> None:
        self._runner = runner
        """The function whose frame holds the attempt that is being run."""
        self._loop_thread_id = loop_thread_id
        self._stuck_s = stuck_s
        self._turned_s = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="perdure-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def turned(self) -> None:
        """The loop has turned."""
        self._turned_s = time.monotonic()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _watch(self) -> None:
        told_s = 0.0
        while not self._stop.wait(min(LOOK_S, self._stuck_s / 4)):
            now_s = time.monotonic()
            stuck_s = now_s - self._turned_s
            if stuck_s >= self._stuck_s and now_s - told_s >= REPEAT_S:
                told_s = now_s
                self._tell(stuck_s)
            elif stuck_s < self._stuck_s:
                told_s = 0.0

    def _tell(self, stuck_s: float) -> None:
        frame = sys._current_frames().get(self._loop_thread_id)
        if frame is None:
            return
        where = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        attempt = self._attempt(frame)
        logger.warning(
            "%s has blocked its event loop for %.1f s, at %s. Nothing else runs on this loop"
            " meanwhile, heartbeats included: await instead, or make the activity a plain def,"
            " which runs in a thread",
            "something"
            if attempt is None
            else f"activity {attempt.task.activity_type} ({attempt})",
            stuck_s,
            where,
        )

    def _attempt(self, frame: FrameType | None) -> Attempt | None:
        while frame is not None:
            if frame.f_code is self._runner:
                found = frame.f_locals.get("attempt")
                return found if isinstance(found, Attempt) else None
            frame = frame.f_back
        return None
