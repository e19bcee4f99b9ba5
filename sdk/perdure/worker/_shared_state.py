"""Shared state of process pools, kept for compatibility, without effect."""

from __future__ import annotations

import multiprocessing.managers
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol


class Event(Protocol):
    """What can be set by one process and seen by another."""

    def set(self) -> None:
        """Set it."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or so many seconds; whether it is set."""


class SharedHeartbeatSender(ABC):
    """What a process sends heartbeats with. Nothing of a worker calls it here."""

    @abstractmethod
    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        """Send the details of a heartbeat to whoever registered for the token."""


class SharedStateManager(ABC):
    """What a worker may be given for the processes of its pool: accepted, and without effect.

    Heartbeats and cancellations have a line of their own between a worker and its processes. What
    the object does by itself it does as in Temporal: events, and heartbeats from one to another.
    """

    @staticmethod
    def create_from_multiprocessing(
        mgr: multiprocessing.managers.SyncManager, queue_poller_executor: Executor | None = None
    ) -> SharedStateManager:
        """One over a manager of `multiprocessing`, with a thread that listens when none is given.

        Example:
            shared = SharedStateManager.create_from_multiprocessing(multiprocessing.Manager())
        """
        return _OverManager(mgr, queue_poller_executor)

    @abstractmethod
    def new_event(self) -> Event:
        """An event that other processes see."""

    @abstractmethod
    def register_heartbeater(
        self, task_token: bytes, heartbeat: Callable[..., None]
    ) -> SharedHeartbeatSender:
        """Call this function with what is sent for the token; what to send with."""

    @abstractmethod
    def unregister_heartbeater(self, task_token: bytes) -> None:
        """Call nothing for the token any more."""


@dataclass(frozen=True)
class _Beat:
    task_token: bytes
    details: tuple[Any, ...]


class _OverManager(SharedStateManager):
    def __init__(
        self, mgr: multiprocessing.managers.SyncManager, executor: Executor | None
    ) -> None:
        self._manager = mgr
        self._executor = executor
        self._beats: queue.Queue[_Beat | None] | None = None
        self._lock = threading.Lock()
        self._heartbeaters: dict[bytes, Callable[..., None]] = {}

    def new_event(self) -> Event:
        return self._manager.Event()

    def register_heartbeater(
        self, task_token: bytes, heartbeat: Callable[..., None]
    ) -> SharedHeartbeatSender:
        with self._lock:
            if self._beats is None:
                self._beats = self._manager.Queue(1000)
            is_first, beats = not self._heartbeaters, self._beats
            self._heartbeaters[task_token] = heartbeat
        listen = partial(self._listen, beats)
        if is_first and self._executor is not None:
            self._executor.submit(listen)
        elif is_first:
            threading.Thread(target=listen, name="perdure-beats", daemon=True).start()
        return _Sender(beats)

    def unregister_heartbeater(self, task_token: bytes) -> None:
        with self._lock:
            self._heartbeaters.pop(task_token, None)
            is_last, beats = not self._heartbeaters, self._beats
        if is_last and beats is not None:
            beats.put(None)

    def _listen(self, beats: queue.Queue[_Beat | None]) -> None:
        """Until nobody is registered any more."""
        while (beat := beats.get()) is not None:
            with self._lock:
                heartbeat = self._heartbeaters.get(beat.task_token)
            if heartbeat is not None:
                heartbeat(*beat.details)


@dataclass(frozen=True)
class _Sender(SharedHeartbeatSender):
    beats: queue.Queue[_Beat | None]

    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        self.beats.put(_Beat(task_token, details), timeout=5)
