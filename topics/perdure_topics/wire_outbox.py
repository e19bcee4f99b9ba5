"""The sending half of a connection: whoever has something to say marks itself, one thread sends."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from perdure_topics.doorbell import Doorbell
from perdure_topics.wire import BATCH_BYTES, BEAT_S, Beat, Frame, encode

if TYPE_CHECKING:
    from perdure_topics.wire_socket import WireSocket


class Outlet(Protocol):
    """Something that has frames to send from time to time."""

    marked: bool

    def collect(self, out: Batch) -> None:
        """Hand over what there is to send, about a batch of it; mark again if more is left."""


class Batch:
    """Frames on their way into one message, and how large it will be, roughly."""

    __slots__ = ("frames", "size_bytes")

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.size_bytes = 0

    def add(self, frame: Frame, size_bytes: int = 32) -> None:
        """Take a frame in."""
        self.frames.append(frame)
        self.size_bytes += size_bytes


class Outbox:
    """Marked outlets, and the loop that empties them: all that gathered leaves as one message."""

    def __init__(self) -> None:
        self._marked: deque[Outlet] = deque()
        self._bell = Doorbell()
        self._open = True
        self._finishing = False

    def mark(self, outlet: Outlet) -> None:
        """Say that an outlet has something to send. From any thread, never blocks."""
        if not outlet.marked:
            outlet.marked = True
            self._marked.append(outlet)
            self._bell.ring()

    def close(self) -> None:
        """End the loop."""
        self._open = False
        self._bell.ring()

    def finish(self) -> None:
        """End the loop once nothing waits to be sent."""
        self._finishing = True
        self._bell.ring()

    def run(self, socket: WireSocket) -> None:
        """Send until closed. Raises WireClosedError."""
        beat_at = time.monotonic() + BEAT_S
        marked = self._marked
        while self._open:
            if not marked and self._finishing:
                return
            if not marked:
                self._bell.wait(beat_at - time.monotonic())
            batch = Batch()
            while marked and batch.size_bytes < BATCH_BYTES:
                outlet = marked.popleft()
                # First, so that a mark made while it hands over is not lost.
                outlet.marked = False
                outlet.collect(batch)
            now = time.monotonic()
            if not batch.frames:
                if now < beat_at:
                    continue
                batch.add(Beat())
            beat_at = now + BEAT_S
            socket.send(encode(batch.frames))
