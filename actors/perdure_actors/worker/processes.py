"""Runs sync activities in the processes of a pool, with a line home for heartbeats and cancels.

What crosses the line is msgspec's MessagePack, and task, result and failure cross as payloads;
only the reference to the function is the pool's own business.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Executor, Future
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import msgspec

from perdure_actors.definitions.registry import activity_definition
from perdure_actors.replay.exceptions import CancelledError
from perdure_actors.worker.activity_context import (
    CURRENT,
    ActivityContext,
    Flag,
    ThreadInterrupt,
    cancellation_details,
)
from perdure_actors.worker.attempt import WORKER_SHUTDOWN, Attempt, application_failure
from perdure_actors.worker.executors import (
    Outcome,
    adopt_trace,
    outcome_of_error,
    raise_in_thread,
    run_interruptibly,
)
from perdure_schemas.avro import decode_as, encode
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.payloads import Payload
from perdure_schemas.tasks import ActivityTask
from perdure_topics.ports import Headers

FRAME_BYTES_MAX = 8 * 1024 * 1024

logger = logging.getLogger(__name__)


class _Beat(msgspec.Struct, frozen=True):
    """From a child: an attempt has begun (no details), or gives a sign of life."""

    token: bytes
    details: list[Payload] | None = None
    number: int = 0


class _End(msgspec.Struct, frozen=True):
    """From a child, by way of the pool: the outcome, and the last sign of life.

    The line and the pool are two ways home; a beat that went last may well come second.
    """

    outcome: Outcome
    last: _Beat | None = None


class _Order(msgspec.Struct, frozen=True):
    """To a child: an attempt should stop, or the worker stops (no token)."""

    token: bytes
    reason: str


class _Line(msgspec.Struct, frozen=True):
    """How a child reaches its worker."""

    address: str
    key: bytes


class ProcessExecutor:
    """Runs attempts in a process pool and keeps a line to each of its processes."""

    def __init__(
        self,
        pool: Executor,
        *,
        deliver: Callable[[Attempt, Outcome], None],
        beat: Callable[[bytes, list[Payload]], None],
    ) -> None:
        self._pool = pool
        self._deliver = deliver
        self._beat = beat
        self._key = secrets.token_bytes(32)
        self._listener = Listener(authkey=self._key)
        self.address = str(self._listener.address)
        """Where its processes call."""
        self._lines: set[Connection] = set()
        self._by_token: dict[bytes, Connection] = {}
        self._early: dict[bytes, str] = {}
        self._live: set[bytes] = set()
        self._heard: dict[bytes, int] = {}
        """The number of the last beat of each attempt."""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._accept, name="perdure-lines", daemon=True).start()

    def start(
        self,
        attempt: Attempt,
        context: ActivityContext,
        *,
        fn: Callable[..., Any] | None = None,
        deliver: Callable[[Attempt, Outcome], None] | None = None,
    ) -> None:
        """Run it, or another function for it, in a process; the outcome goes to who is named.

        Raises RuntimeError when the pool takes nothing any more.
        """
        with self._lock:
            self._live.add(attempt.token)
        line = msgspec.msgpack.encode(_Line(self.address, self._key))
        # From here on it is the pool that says whether it has begun.
        context.begin()
        future = self._pool.submit(
            run_in_process,
            fn or context.fn,
            encode(attempt.task),
            context.started_ms,
            context.converter,
            attempt.headers,
            line,
        )
        future.add_done_callback(partial(self._ended, attempt, deliver or self._deliver))

    def cancel(self, attempt: Attempt, reason: str) -> None:
        """Tell the process that runs an attempt, or that will, that it should stop."""
        with self._lock:
            line = self._by_token.get(attempt.token)
            if line is None:
                self._early[attempt.token] = reason
        if line is not None:
            self._send(line, _Order(attempt.token, reason))

    def tell_shutdown(self) -> None:
        """Tell all processes that the worker stops."""
        for line in list(self._lines):
            self._send(line, _Order(b"", WORKER_SHUTDOWN))

    def close(self) -> None:
        """Hang up."""
        self._closed.set()
        self._wake()
        self._listener.close()
        for line in list(self._lines):
            line.close()

    def _wake(self) -> None:
        """Call once and say nothing, so that the thread that waits for a call looks up.

        A caller with its key would wait in turn behind one that never says its own.
        """
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as caller:
            caller.setblocking(False)
            caller.connect(self.address)

    def _ended(
        self,
        attempt: Attempt,
        deliver: Callable[[Attempt, Outcome], None],
        future: Future[bytes],
    ) -> None:
        with self._lock:
            self._live.discard(attempt.token)
            self._by_token.pop(attempt.token, None)
            self._early.pop(attempt.token, None)
            heard = self._heard.pop(attempt.token, 0)
        end = self._end_of(attempt, future)
        if end.last is not None and end.last.number > heard:
            self._beat(attempt.token, end.last.details or [])
        deliver(attempt, end.outcome)

    def _end_of(self, attempt: Attempt, future: Future[bytes]) -> _End:
        try:
            return msgspec.msgpack.decode(future.result(), type=_End)
        except FutureCancelledError:
            return _End(Outcome("unbegun"))
        except Exception as error:
            failure = application_failure(
                f"the process for activity {attempt.task.activity_type} did not answer:"
                f" {type(error).__name__}: {error}",
                type(error).__name__,
            )
            return _End(Outcome("failed", failure=failure))

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                line = self._listener.accept()
            except (OSError, EOFError) as error:
                if not self._closed.is_set():
                    logger.warning("an activity process could not call: %s", error)
                continue
            except Exception:
                logger.exception("a caller that is no activity process was turned away")
                continue
            if self._closed.is_set():
                line.close()
                return
            self._lines.add(line)
            threading.Thread(
                target=self._listen, args=(line,), name="perdure-line", daemon=True
            ).start()

    def _listen(self, line: Connection) -> None:
        read = msgspec.msgpack.Decoder(_Beat).decode
        try:
            while True:
                beat = read(line.recv_bytes(FRAME_BYTES_MAX))
                if beat.details is not None:
                    with self._lock:
                        if beat.token not in self._live:
                            continue
                        self._heard[beat.token] = beat.number
                    self._beat(beat.token, beat.details)
                    continue
                with self._lock:
                    if beat.token not in self._live:
                        # It has ended before the word of its beginning was read.
                        continue
                    self._by_token[beat.token] = line
                    reason = self._early.pop(beat.token, None)
                if reason is not None:
                    self._send(line, _Order(beat.token, reason))
        except (OSError, EOFError):
            self._lines.discard(line)
        except TypeError:
            # A line that is closed while it is read has no number any more.
            if not line.closed:
                raise

    def _send(self, line: Connection, order: _Order) -> None:
        with contextlib.suppress(OSError):
            line.send_bytes(msgspec.msgpack.encode(order))


# What follows runs in the processes of the pool.


class _Home:
    """A child's line to its worker, and the attempt that runs in this process."""

    def __init__(self, line: _Line) -> None:
        self._connection = Client(line.address, authkey=line.key)
        self._lock = threading.Lock()
        self._context: ActivityContext | None = None
        self.last: _Beat | None = None
        """The last sign of life of the attempt that runs, or has just ended."""
        self.shutdown = Flag()
        threading.Thread(target=self._listen, name="perdure-home", daemon=True).start()

    def begin(self, context: ActivityContext) -> None:
        """An attempt begins in this process."""
        self._context = context
        self.last = None
        self._send(_Beat(context.task.token))

    def beat(self, token: bytes, details: list[Payload]) -> None:
        """Send a sign of life."""
        number = self.last.number + 1 if self.last is not None else 1
        self.last = _Beat(token, details, number)
        self._send(self.last)

    def end(self) -> None:
        """The attempt has ended."""
        self._context = None

    def _send(self, beat: _Beat) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._connection.send_bytes(msgspec.msgpack.encode(beat))

    def _listen(self) -> None:
        read = msgspec.msgpack.Decoder(_Order).decode
        with contextlib.suppress(OSError, EOFError):
            while True:
                order = read(self._connection.recv_bytes(FRAME_BYTES_MAX))
                if order.token:
                    self._cancel(order)
                else:
                    self.shutdown.set()

    def _cancel(self, order: _Order) -> None:
        context = self._context
        if context is None or context.task.token != order.token:
            return
        if context.cancel(cancellation_details(order.reason)) and context.interrupt is not None:
            context.interrupt.raise_soon(CancelledError)


_homes: dict[bytes, _Home] = {}


def run_in_process(
    fn: Callable[..., Any],
    task_bytes: bytes,
    started_ms: int,
    converter: PayloadConverter,
    trace_headers: Headers,
    line_bytes: bytes,
) -> bytes:
    """Run one attempt in this process, and say what became of it."""
    task = decode_as(ActivityTask, task_bytes)
    if line_bytes not in _homes:
        _homes[line_bytes] = _Home(msgspec.msgpack.decode(line_bytes, type=_Line))
    home = _homes[line_bytes]
    context = ActivityContext(
        task,
        definition=activity_definition(fn),
        fn=fn,
        started_ms=started_ms,
        converter=converter,
        shutdown=home.shutdown,
        beat=partial(home.beat, task.token),
        trace_headers=trace_headers,
    )
    if not context.definition.no_thread_cancel_exception:
        context.interrupt = ThreadInterrupt(raise_in_thread)
    CURRENT.set(context)
    adopt_trace(trace_headers)
    home.begin(context)
    try:
        outcome = run_interruptibly(context)
    except BaseException as error:
        outcome = outcome_of_error(error, context)
    finally:
        home.end()
    return msgspec.msgpack.encode(_End(outcome, home.last))
