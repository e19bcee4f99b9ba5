"""A TCP proxy in front of a broker that can hold back one request, and deliver it later."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import Final

END_TXN: Final = 26
TXN_OFFSET_COMMIT: Final = 28
WAIT_S: Final = 20.0


class HoldingProxy:
    """Passes everything on, but for one request of a kind; clients find it as the broker."""

    def __init__(self, port: int, upstream: int) -> None:
        self._upstream = upstream
        self._lock = threading.Lock()
        self._hold_next: int | None = None
        self._release_before: int | None = None
        self._held: tuple[socket.socket, bytes] | None = None
        self._released_to: socket.socket | None = None
        self._answered = threading.Event()
        self.has_held = threading.Event()
        self.has_released = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def hold(self, kind: int, *, until: int) -> None:
        """Hold the next request of a kind; it arrives just before one of another kind does."""
        self.has_held.clear()
        self.has_released.clear()
        self._answered.clear()
        with self._lock:
            self._hold_next, self._release_before = kind, until

    def close(self) -> None:
        """End every connection."""
        for one in [self._listener, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _begin(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._upstream))
                for one in (client, broker):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, broker]
                self._begin(self._up, client, broker)
                self._begin(self._down, broker, client)

    def _up(self, client: socket.socket, broker: socket.socket) -> None:
        is_held = False
        with suppress(OSError, EOFError):
            while True:
                size = _read(client, 4)
                frame = size + _read(client, struct.unpack(">i", size)[0])
                (kind,) = struct.unpack(">h", frame[4:6])
                if self._takes(kind, broker, frame):
                    is_held = True
                    continue
                self._release_if_due(kind)
                broker.sendall(frame)
        if not is_held:
            # What is held goes over this connection, after its client has given it up.
            with suppress(OSError):
                broker.shutdown(socket.SHUT_RDWR)

    def _takes(self, kind: int, broker: socket.socket, frame: bytes) -> bool:
        with self._lock:
            if kind != self._hold_next:
                return False
            self._hold_next, self._held = None, (broker, frame)
        self.has_held.set()
        return True

    def _release_if_due(self, kind: int) -> None:
        with self._lock:
            if self._held is None or kind != self._release_before:
                return
            (broker, frame), self._held = self._held, None
        self._released_to = broker
        broker.sendall(frame)
        # The broker has taken it when it answers, to nobody.
        assert self._answered.wait(WAIT_S), "the broker does not answer what was held"
        self.has_released.set()

    def _down(self, broker: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := broker.recv(65_536):
                if broker is self._released_to:
                    self._answered.set()
                with suppress(OSError):
                    client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


def _read(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
