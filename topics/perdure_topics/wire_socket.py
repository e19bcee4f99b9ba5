"""A websocket on a blocking socket: one thread receives, one sends, and nothing is in between."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Final

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from perdure_topics.wire import SILENCE_S

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
        sock.settimeout(SILENCE_S)
        self._socket = sock
        self._protocol = protocol
        self._lock = Lock()

    def send(self, message: bytes) -> None:
        """Send a message, and what the protocol itself has to say. For one thread only.

        Raises WireClosedError.
        """
        try:
            with self._lock:
                self._protocol.send_binary(message)
                data = self._protocol.data_to_send()
            self._socket.sendall(b"".join(data))
        except (OSError, InvalidState) as error:
            raise WireClosedError(_reason(error)) from error

    def flush(self) -> None:
        """Send what the protocol itself has to say. For the sending thread, or before it runs."""
        with self._lock:
            data = b"".join(self._protocol.data_to_send())
        if data:
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
    if isinstance(error, TimeoutError):
        return f"it was silent for {SILENCE_S:.0f} s"
    return str(error) or type(error).__name__
