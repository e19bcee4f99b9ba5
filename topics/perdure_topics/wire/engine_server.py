"""The engine's listening socket: it serves its embedded log to processes of the same machine."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import time
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from websockets.datastructures import MultipleValuesError
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from perdure_topics.peers import stranger_at
from perdure_topics.ports import LogError
from perdure_topics.wire.engine_session import Session
from perdure_topics.wire.frames import MESSAGE_BYTES_MAX, PATH
from perdure_topics.wire.wire_socket import QUIET, WireClosedError, WireSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.embedded.embedded_log import EmbeddedLog

_LOG = logging.getLogger(__name__)
CONNECTIONS_MAX: Final = 256
ACCEPT_AGAIN_S: Final = 0.2
HEALTH_PATH: Final = "/healthz"
_FRONT: Final = f"GET {PATH}".encode()


class EngineServer:
    """Serves a log on a loopback address until it is closed."""

    def __init__(
        self,
        log: EmbeddedLog,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        on_page: Callable[[socket.socket], None] | None = None,
    ) -> None:
        if not _is_loopback(host):
            msg = (
                f"{host} is not a loopback address: the engine has no passwords and serves this "
                f"machine only. Use 127.0.0.1, or Kafka between machines"
            )
            raise LogError(msg)
        self._log = log
        self._on_page = on_page
        """Takes the connections of browsers; nothing has been read from them."""
        self._lock = Lock()
        self._sockets: dict[WireSocket, Thread] = {}
        self._closed = False
        try:
            self._listener = socket.create_server((host, port), family=_family(host), backlog=64)
        except OSError as error:
            msg = f"cannot listen on {host} port {port}: {error}. Choose another --port"
            raise LogError(msg) from error
        self._host = host
        self._thread = Thread(target=self._accept, name="perdure-engine-listen", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """What clients connect to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closed = True
        # A thread blocked in accept() is not woken by close() alone.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            sockets = dict(self._sockets)
        for one in sockets:
            one.close()
        for thread in sockets.values():
            thread.join()

    def _is_closed(self) -> bool:
        return self._closed

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if self._is_closed():
                    return
                # Too many files, or a client that was gone at once: neither is for ever.
                _LOG.error("the engine at %s cannot take a connection: %s", self._host, error)
                time.sleep(ACCEPT_AGAIN_S)
                continue
            protocol = ServerProtocol(max_size=MESSAGE_BYTES_MAX, logger=QUIET)
            one = WireSocket(connection, protocol)
            thread = Thread(
                target=self._serve,
                args=(one, protocol, connection),
                name="perdure-engine-in",
                daemon=True,
            )
            with self._lock:
                full = len(self._sockets) >= CONNECTIONS_MAX
                if not full:
                    self._sockets[one] = thread
            if full:
                _LOG.error("the engine has %d connections: one more was refused", CONNECTIONS_MAX)
                one.close()
                continue
            thread.start()

    def _serve(self, one: WireSocket, protocol: ServerProtocol, connection: socket.socket) -> None:
        try:
            if (stranger := stranger_at(connection)) is not None:
                _turn_away(connection, stranger)
                return
            if self._on_page is not None and not _is_for_us(connection):
                self._on_page(socket.socket(fileno=connection.detach()))
                return
            if self._shake_hands(one, protocol):
                self._converse(one)
        except WireClosedError as error:
            _LOG.debug("a connection ended: %s", error)
        except Exception:
            _LOG.exception("a connection ended by an error of the engine")
        finally:
            one.close()
            with self._lock:
                self._sockets.pop(one, None)

    def _shake_hands(self, one: WireSocket, protocol: ServerProtocol) -> bool:
        request = one.receive_handshake()
        assert isinstance(request, Request)
        response = _look_at(request, protocol)
        protocol.send_response(response)
        one.flush()
        return response.status_code == 101

    def _converse(self, one: WireSocket) -> None:
        session = Session(self._log, one)
        sender = Thread(
            target=self._send, args=(session, one), name="perdure-engine-out", daemon=True
        )
        try:
            if not session.greet():
                return
            sender.start()
            session.run()
        finally:
            one.close()
            session.close()
            if sender.ident is not None:
                sender.join()

    @staticmethod
    def _send(session: Session, one: WireSocket) -> None:
        try:
            session.outbox.run(one)
        except WireClosedError:
            pass
        except Exception:
            _LOG.exception("sending on a connection failed by an error of the engine")
        # The receiving thread waits in the socket and must learn of it.
        one.close()


def _turn_away(connection: socket.socket, user: int) -> None:
    """Say to another user of this machine that the engine is not theirs."""
    who = f"user {user}" if user >= 0 else "a process that has gone"
    _LOG.warning("a connection of %s was refused: this engine is of user %d", who, os.getuid())
    text = (
        f"this engine serves processes of user {os.getuid()} and of root; this is {who}. Run both"
        " as one user, or use Kafka and its rights\n"
    )
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    connection.sendall((head + text).encode())
    # What it has sent is read first, or the answer would be lost with it.
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(1.0)
    with suppress(OSError):
        connection.recv(64 * 1024)


def _is_for_us(connection: socket.socket) -> bool:
    """Whether a connection begins by asking for the log; all else is the gateway's to answer.

    Nothing is taken from it: whoever serves it reads it from its first byte.
    """
    try:
        front = connection.recv(len(_FRONT) + 1, socket.MSG_PEEK | socket.MSG_WAITALL)
    except OSError:
        return True
    return front in (_FRONT + b" ", _FRONT + b"?")


def _look_at(request: Request, protocol: ServerProtocol) -> Response:
    """What to answer to a request: a page of a foreign site must not reach the log."""
    try:
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "none")
    except MultipleValuesError:
        return protocol.reject(400, "two headers of a kind that says who asks\n")
    if not _is_loopback(_host_of(f"//{host}")):
        return protocol.reject(403, f"the host {host!r} is not this machine's loopback\n")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        # Another port of this machine is another site: anybody's page may be served there.
        return protocol.reject(403, f"the origin {origin!r} is not this engine's own\n")
    if site not in ("same-origin", "none"):
        return protocol.reject(403, f"a page of another site ({site}) asked for this\n")
    path = request.path.partition("?")[0]
    if path == HEALTH_PATH:
        return protocol.reject(200, "ok\n")
    if path != PATH:
        return protocol.reject(404, f"there is nothing at {path!r}\n")
    return protocol.accept(request)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
