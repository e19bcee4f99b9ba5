"""The sending half of a connection: whoever has something to say marks itself, one thread sends."""

from __future__ import annotations

import logging
import time
from collections import deque
from threading import Lock
from typing import Final, Protocol

from perdure_topics.waker import Doorbell
from perdure_topics.wire.frames import BATCH_BYTES, BEAT_S, Beat, Frame, encode
from perdure_topics.wire.wire_socket import WireClosedError, WireSocket

_LOG = logging.getLogger(__name__)
QUIET_S: Final = 0.0003
"""A connection that sent nothing for so long is quiet."""


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
    """Marked outlets, and how they are emptied: all that gathered leaves as one message.

    On a quiet connection the thread that marks sends at once itself, as far as that does not
    block; under load it leaves it to the sending thread, so that messages grow.
    """

    def __init__(self) -> None:
        self._marked: deque[Outlet] = deque()
        self._bell = Doorbell()
        self._open = True
        self._finishing = False
        self._sending = Lock()
        self._sent_at = 0.0
        self._socket: WireSocket | None = None

    def mark(self, outlet: Outlet) -> None:
        """Say that an outlet has something to send. From any thread, never blocks."""
        if outlet.marked:
            return
        outlet.marked = True
        self._marked.append(outlet)
        quiet = time.monotonic() - self._sent_at > QUIET_S
        if quiet and self._socket is not None and self._sending.acquire(blocking=False):
            self._send_now(self._socket)
        else:
            self._bell.ring()

    def close(self) -> None:
        """End the loop; nothing is collected any more. The socket must be closed before."""
        with self._sending:
            self._open = False
        self._bell.ring()

    def finish(self) -> None:
        """End the loop once nothing waits to be sent."""
        self._finishing = True
        self._bell.ring()

    def run(self, socket: WireSocket) -> None:
        """Send until closed. Raises WireClosedError."""
        self._socket = socket
        beat_at = time.monotonic() + BEAT_S
        while True:
            if not self._marked:
                if self._finishing:
                    return
                self._bell.wait(beat_at - time.monotonic())
            with self._sending:
                if not self._open:
                    return
                socket.flush()
                batch = self._gather()
                now = time.monotonic()
                beat_at = max(beat_at, self._sent_at + BEAT_S)
                if not batch.frames:
                    if now < beat_at:
                        continue
                    batch.add(Beat())
                self._sent_at = now
                beat_at = now + BEAT_S
                socket.send(encode(batch.frames))

    def _gather(self) -> Batch:
        batch = Batch()
        marked = self._marked
        while marked and batch.size_bytes < BATCH_BYTES:
            outlet = marked.popleft()
            # First, so that a mark made while it hands over is not lost.
            outlet.marked = False
            outlet.collect(batch)
        return batch

    def _send_now(self, socket: WireSocket) -> None:
        """Send from a thread that must not be held up, and that has no use for our errors."""
        left = False
        try:
            batch = self._gather() if self._open else Batch()
            if batch.frames:
                self._sent_at = time.monotonic()
                left = not socket.send_now(encode(batch.frames))
        except Exception as error:
            if not isinstance(error, WireClosedError):
                _LOG.exception("sending failed by an error of our own")
            socket.close()
        finally:
            self._sending.release()
        if left or self._marked:
            self._bell.ring()
