"""The client's side of a connection to an engine: connecting, and connecting again."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections import deque
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.http11 import Response
from websockets.uri import parse_uri

from perdure_schemas.version import VERSION as RELEASE
from perdure_topics.ports import LogDeniedError, LogError, LogUnavailableError
from perdure_topics.wire import frames
from perdure_topics.wire.frame_queue import Batch, Outbox
from perdure_topics.wire.wire_socket import QUIET, WireClosedError, WireSocket

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)
CLIENT_VERSION: Final = frames.VERSION
CONNECT_S: Final = 5.0
BACK_OFF_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
TELL_EVERY_S: Final = 5.0
STEADY_S: Final = 5.0
"""A connection that ended sooner is not made again at once."""
CALL_S: Final = 15.0


class Part(Protocol):
    """A writer, reader or member of a remote log, as its connection sees it."""

    def came_up(self) -> None:
        """A new connection serves: send what must be known there."""

    def went_down(self, reason: str, *, final: bool) -> None:
        """The connection is gone, for ever if final."""

    def tick(self) -> None:
        """Now and then while there is no connection: let go of what waited too long."""


class Ask:
    """A question to the engine and its answer."""

    def __init__(self, on_answer: Callable[[], None]) -> None:
        self.answer: frames.Answer | None = None
        self.error: LogError | None = None
        self._on_answer = on_answer

    def settle(self, answer: frames.Answer | None, error: LogError | None) -> None:
        """Note the answer, or why there will be none."""
        self.answer = answer
        self.error = error
        self._on_answer()


class Link:
    """The connection of a remote log. Its own thread receives; another one sends."""

    def __init__(self, url: str, *, api_key: str = "") -> None:
        self.address, self._host, self._port = _parse(url)
        self.api_key = api_key
        self.cluster_id = ""
        self.up = Event()
        self.writers: dict[int, Callable[[list[frames.AckRow]], None]] = {}
        self.feeds: dict[int, Callable[[frames.Records | frames.Lost], None]] = {}
        self.members: dict[int, Callable[[list[frames.ChangeRow]], None]] = {}
        self.marked = False
        self._outbox = Outbox()
        self._frames: deque[tuple[frames.Frame, int]] = deque()
        self._asks: dict[int, Ask] = {}
        self._parts: dict[int, Part] = {}
        self._lock = Lock()
        self._number = 0
        self._closed = False
        self._fatal: LogError | None = None
        self._away_since = time.monotonic()
        self._reason = "it was not reached yet"
        self._socket: WireSocket | None = None
        self._sender: Thread | None = None
        self._wake = Event()
        self._thread = Thread(target=self._run, name="perdure-link-in", daemon=True)

    def start(self, wait_s: float) -> None:
        """Connect. Raises LogUnavailableError after so long, LogError when it is of no use."""
        self._thread.start()
        until = time.monotonic() + wait_s
        while not self.up.wait(0.02):
            if self._fatal is not None or time.monotonic() >= until:
                error = self._fatal or self.away()
                self.close()
                raise error

    def away(self) -> LogUnavailableError:
        """What to tell a caller while there is no connection."""
        seconds = time.monotonic() - self._away_since
        return LogUnavailableError(
            f"the engine at {self.address} cannot be reached ({self._reason}); tried for "
            f"{seconds:.1f} s. Is `perdure engine` running there?"
        )

    def check(self) -> None:
        """Raise LogError when this connection is of no use, now or for ever."""
        if self._fatal is not None:
            raise self._fatal
        if not self.up.is_set():
            raise self.away()

    def number(self) -> int:
        """A number nobody has yet."""
        with self._lock:
            self._number += 1
            return self._number

    def register(self, part: Part) -> int:
        """Tell a part from now on when the connection comes and goes."""
        number = self.number()
        with self._lock:
            self._parts[number] = part
            up = self.up.is_set()
        if up:
            part.came_up()
        return number

    def forget(self, number: int) -> None:
        """Tell a part nothing more."""
        with self._lock:
            self._parts.pop(number, None)

    def send(self, frame: frames.Frame, size_bytes: int = 32) -> bool:
        """Send a frame if there is a connection; it is not kept for the next one."""
        if not self.up.is_set():
            return False
        self._frames.append((frame, size_bytes))
        self._outbox.mark(self)
        return True

    def mark(self, outlet: _Outlet) -> None:
        """Ask to send what an outlet has."""
        self._outbox.mark(outlet)

    def collect(self, out: Batch) -> None:
        """Hand over the single frames."""
        while self._frames and out.size_bytes < frames.BATCH_BYTES:
            out.add(*self._frames.popleft())
        if self._frames:
            self._outbox.mark(self)

    def ask(self, make: Callable[[int], frames.Asking], on_answer: Callable[[], None]) -> Ask:
        """Send a question. Its answer is an error when the connection goes first."""
        number = self.number()
        ask = Ask(on_answer)
        try:
            self.check()
        except LogError as error:
            ask.settle(None, error)
            return ask
        with self._lock:
            self._asks[number] = ask
        if not self.send(make(number)) and self._asks.pop(number, None) is not None:
            ask.settle(None, self.away())
        return ask

    def call(self, make: Callable[[int], frames.Asking]) -> frames.Answer:
        """Ask and wait. Raises LogError with what the engine says, LogUnavailableError."""
        self.check()
        answered = Event()
        ask = self.ask(make, answered.set)
        if not answered.wait(CALL_S):
            msg = f"the engine at {self.address} did not answer within {CALL_S:.0f} s"
            raise LogUnavailableError(msg)
        if ask.error is not None:
            raise ask.error
        assert ask.answer is not None
        if ask.answer.error is not None:
            raise LogError(ask.answer.error)
        return ask.answer

    def close(self, *, flush_s: float = 0.0) -> None:
        """Send what waits to be sent, for so long, and end the connection."""
        self._closed = True
        self._wake.set()
        sender = self._sender
        if sender is not None and flush_s > 0:
            self._outbox.finish()
            sender.join(flush_s)
        one = self._socket
        if one is not None:
            one.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        attempt = 0
        told: float | None = None
        while not self._closed:
            try:
                one = self._connect()
            except (WireClosedError, OSError) as error:
                self._reason = str(error)
                now = time.monotonic()
                due = told is None or now - told >= TELL_EVERY_S
                if due and not self._wake.is_set():
                    told = now
                    _LOG.warning("%s", self.away())
                self._tick()
                attempt = self._back_off(attempt)
                continue
            except LogError as error:
                self._fatal = error
                _LOG.error("%s", error)
                self._tell_down(str(error), final=True)
                return
            if told is not None:
                away_s = time.monotonic() - self._away_since
                _LOG.warning("the engine at %s is back after %.1f s", self.address, away_s)
                told = None
            began_s = time.monotonic()
            self._serve(one)
            now = time.monotonic()
            if self._wake.is_set():
                continue
            if now - began_s >= STEADY_S or not attempt:
                told, attempt = now, 0
                _LOG.warning("%s", self.away())
            if now - began_s < STEADY_S:
                # It lets this process in and hangs up: said once, and left alone for longer.
                attempt = self._back_off(attempt)

    def _back_off(self, attempt: int) -> int:
        """Wait before the next attempt to connect; its number."""
        pause = BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)]
        self._wake.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        return attempt + 1

    def _connect(self) -> WireSocket:
        """Raises OSError, WireClosedError; LogError when trying again makes no sense."""
        connection = socket.create_connection((self._host, self._port), timeout=CONNECT_S)
        host = f"[{self._host}]" if ":" in self._host else self._host
        uri = parse_uri(f"ws://{host}:{self._port}{frames.PATH}")
        protocol = ClientProtocol(uri, max_size=frames.MESSAGE_BYTES_MAX, logger=QUIET)
        one = WireSocket(connection, protocol)
        try:
            request = protocol.connect()
            if self.api_key:
                request.headers["Authorization"] = f"Bearer {self.api_key}"
            protocol.send_request(request)
            one.flush()
            response = one.receive_handshake()
            if isinstance(response, Response) and response.status_code in (401, 403):
                said = (response.body or b"")[:500].decode(errors="replace")
                msg = f"{self.address} lets nobody in without a token that it knows: {said}"
                raise LogDeniedError(msg)
            if isinstance(response, Response) and response.status_code in (429, 503):
                # It is full now, or this person has enough of it: that passes.
                said = (response.body or b"")[:500].decode(errors="replace").strip()
                raise WireClosedError(said or f"it has no room now ({response.status_code})")
            if not isinstance(response, Response) or protocol.handshake_exc is not None:
                msg = f"{self.address} does not speak with Perdure: {protocol.handshake_exc}"
                raise LogError(msg)
            one.send(frames.encode([frames.Hello(CLIENT_VERSION, RELEASE)]))
            self._welcome(one.receive())
        except BaseException:
            one.close()
            raise
        return one

    def _welcome(self, messages: list[bytes]) -> None:
        try:
            first = frames.decode_from_engine(messages[0])[0]
        except (ValueError, IndexError) as error:
            msg = f"{self.address} does not speak with Perdure: {error}"
            raise LogError(msg) from error
        if isinstance(first, frames.Refused):
            raise LogError(first.message)
        if not isinstance(first, frames.Welcome):
            msg = f"{self.address} did not answer as an engine does"
            raise LogError(msg)
        if self.cluster_id not in ("", first.cluster_id):
            msg = (
                f"another log answers at {self.address}: it was {self.cluster_id}, now it is "
                f"{first.cluster_id}. Start this process again"
            )
            raise LogError(msg)
        self.cluster_id = first.cluster_id

    def _serve(self, one: WireSocket) -> None:
        """One connection from its beginning to its end."""
        outbox = self._outbox = Outbox()
        self._frames.clear()
        self.marked = False
        self._socket = one
        sender = Thread(target=_send, args=(outbox, one), name="perdure-link-out", daemon=True)
        sender.start()
        self._sender = sender
        with self._lock:
            self.up.set()
            parts = list(self._parts.values())
        for part in parts:
            part.came_up()
        try:
            while not self._closed:
                for message in one.receive():
                    for frame in frames.decode_from_engine(message):
                        self._take(frame)
        except WireClosedError as error:
            self._reason = str(error)
        except ValueError as error:
            self._reason = f"it sent a message that cannot be read: {error}"
        self._away_since = time.monotonic()
        one.close()
        # First, so that nothing written from now on is taken for being on its way.
        outbox.close()
        with self._lock:
            self.up.clear()
        sender.join()
        self._drop_asks()
        self._tell_down(self._reason, final=False)

    def _take(self, frame: frames.FromEngine) -> None:
        match frame:
            case frames.Records(number) | frames.Lost(number):
                feed = self.feeds.get(number)
                if feed is not None:
                    feed(frame)
            case frames.Acks(number, acks):
                if number in self.writers:
                    self.writers[number](acks)
            case frames.Changes(number, changes):
                if number in self.members:
                    self.members[number](changes)
            case frames.Answer(number):
                ask = self._asks.pop(number, None)
                if ask is not None:
                    ask.settle(frame, None)
            case _:
                pass

    def _drop_asks(self) -> None:
        with self._lock:
            asks, self._asks = self._asks, {}
        for ask in asks.values():
            ask.settle(None, self.away())

    def _tell_down(self, reason: str, *, final: bool) -> None:
        with self._lock:
            parts = list(self._parts.values())
        for part in parts:
            part.went_down(reason, final=final)

    def _tick(self) -> None:
        with self._lock:
            parts = list(self._parts.values())
        for part in parts:
            part.tick()


class _Outlet(Protocol):
    marked: bool

    def collect(self, out: Batch) -> None: ...


def _send(outbox: Outbox, one: WireSocket) -> None:
    try:
        outbox.run(one)
    except WireClosedError:
        pass
    except Exception:
        _LOG.exception("sending to the engine failed by an error of our own")
    # The receiving thread waits in the socket and must learn of it.
    one.close()


def _parse(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        msg = f"{url!r} is no address of an engine: {error}"
        raise LogError(msg) from error
    if parts.scheme != "http" or not parts.hostname or port is None:
        msg = f"{url!r} is no address of an engine: write http://127.0.0.1:PORT"
        raise LogError(msg)
    return f"http://{parts.netloc}", parts.hostname, port
