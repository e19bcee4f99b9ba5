"""A websocket on a blocking socket: one thread receives, one sends, and nothing is in between."""

from __future__ import annotations

import logging
import socket
import struct
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from perdure_topics.wire.frames import SILENCE_S

if TYPE_CHECKING:
    from websockets.http11 import Request, Response
    from websockets.protocol import Protocol

_RECEIVE_BYTES: Final = 256 * 1024
# The library tells every opening and closing; that is not news here.
QUIET: Final = logging.getLogger("perdure.topics.wire")
QUIET.setLevel(logging.WARNING)


class WireClosedError(Exception):
    """The other side is gone; the message says how that showed."""


class WireSocket:
    """Whole binary messages over one connection."""

    def __init__(self, sock: socket.socket, protocol: Protocol) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The kernel's own timeouts: Python's would poll before every call, and wait in it.
        silence = struct.pack("ll", int(SILENCE_S), 0)
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, silence)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, silence)
        self._socket = sock
        self._protocol = protocol
        self._lock = Lock()
        self._rest = b""
        """What could not be sent at once."""

    def send(self, message: bytes) -> None:
        """Send a message, and what was left before it. For one thread at a time.

        Raises WireClosedError.
        """
        try:
            self._socket.sendall(self._dress(message))
        except OSError as error:
            raise WireClosedError(_reason(error)) from error

    def send_now(self, message: bytes) -> bool:
        """Send as much as goes without waiting; False when some is left to `flush`.

        For one thread at a time. Raises WireClosedError.
        """
        data = self._dress(message)
        try:
            sent = self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise WireClosedError(_reason(error)) from error
        self._rest = data[sent:]
        return not self._rest

    def flush(self) -> None:
        """Send what was left, and what the protocol itself has to say. Raises WireClosedError."""
        with self._lock:
            data = b"".join([self._rest, *self._protocol.data_to_send()])
        if data:
            self._rest = b""
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise WireClosedError(_reason(error)) from error

    def receive(self) -> list[bytes]:
        """Wait for messages. For one thread only; it never sends, so two sides cannot block.

        Raises WireClosedError.
        """
        while True:
            events = self._events()
            messages = [
                bytes(event.data)
                for event in events
                if isinstance(event, Frame) and event.opcode is Opcode.BINARY and event.fin
            ]
            if messages:
                return messages
            if self._protocol.state is not State.OPEN:
                raise WireClosedError(self._protocol.close_reason or "it closed the connection")

    def receive_handshake(self) -> Request | Response:
        """Wait for the other side's half of the handshake. Raises WireClosedError."""
        while True:
            for event in self._events():
                if not isinstance(event, Frame):
                    return event
            if self._protocol.handshake_exc is not None:
                raise WireClosedError(str(self._protocol.handshake_exc))

    def close(self) -> None:
        """End the connection from any thread; receive and send end with WireClosedError."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _dress(self, message: bytes) -> bytes:
        """A message as it goes over the socket, behind what was left."""
        try:
            with self._lock:
                self._protocol.send_binary(message)
                data = self._protocol.data_to_send()
        except InvalidState as error:
            raise WireClosedError(_reason(error)) from error
        rest, self._rest = self._rest, b""
        return b"".join([rest, *data]) if rest or len(data) > 1 else data[0]

    def _events(self) -> list[Frame | Request | Response]:
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise WireClosedError(_reason(error)) from error
        with self._lock:
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            events: list[Frame | Request | Response] = self._protocol.events_received()
        if not data and not events:
            msg = "it closed the connection"
            raise WireClosedError(msg)
        return events


def _reason(error: Exception) -> str:
    if isinstance(error, BlockingIOError):
        return f"it was silent for {SILENCE_S:.0f} s"
    return str(error) or type(error).__name__
