"""A host on a thread of its own: the thin shell around `Host.step`."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from perdure_actors.core.decision import Limits
from perdure_actors.host.answers import AnswerSender
from perdure_actors.host.host import Host
from perdure_actors.host.partition_count import check_recorded
from perdure_actors.partition.context import AttributeTypes
from perdure_actors.partition.run_cache import RUNS_MAX, RunMemory
from perdure_actors.partition.schema_framing import Framing
from perdure_actors.partition.services import (
    Code,
    EagerWorker,
    NoLocalRunner,
    Services,
    Viewer,
)
from perdure_actors.trouble_log import TroubleLog
from perdure_topics.clock import SystemClock
from perdure_topics.engine_keys import NO_KEYS, EngineKeys
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import (
    Log,
    LogEndLostError,
    LogError,
    LogUnavailableError,
    TopicInfo,
    TopicMismatchError,
)
from perdure_topics.requirements import disagreement

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.worker.local_worker import LocalWorker
    from perdure_topics.ports import Clock, TableStore
    from perdure_topics.schema_registry_port import SchemaRegistry

logger = logging.getLogger("perdure.host")
MEMBERS_FRESH_S = 0.5
CHECKPOINT_EVERY = 100_000
"""Transitions of a partition between two copies of its table."""
AWAY_RETRY_S = 1.0
TURN_S_MAX = 1.0
"""How long a host that stops is waited for to take what its local activities reported."""
RUNS_MIN = 16
"""Runs that a process keeps in memory at least."""
OPENERS = 4
"""Tables opened at once."""


class WorkerCount:
    """How many workers listen on a queue: looked up on a thread, when somebody wants to know."""

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._namespace = namespace
        self._known: dict[str, tuple[float, int]] = {}
        self._asked: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, task_queue: str) -> int | None:
        """The count if it is fresh; otherwise None, and it is looked up."""
        found = self._known.get(task_queue)
        if found is not None and time.monotonic() - found[0] < MEMBERS_FRESH_S:
            return found[1]
        with self._lock:
            if task_queue in self._asked:
                return None
            self._asked.add(task_queue)
        threading.Thread(
            target=self._look_up, args=(task_queue,), name="perdure-members", daemon=True
        ).start()
        return None

    def _look_up(self, task_queue: str) -> None:
        try:
            count = self._log.group_members(group_name("workers", self._namespace, task_queue))
            self._known[task_queue] = (time.monotonic(), count)
        except LogError as error:
            logger.debug("the workers of %s are not known: %s", task_queue, error)
        finally:
            with self._lock:
                self._asked.discard(task_queue)


def identity() -> str:
    """Who this process is, for people."""
    return f"{os.getpid()}@{socket.gethostname()}"


def _topic(log: Log, role: str, namespace: str, task_queue: str) -> TopicInfo:
    name = topic_name(role, namespace, task_queue)
    info = log.topic(name)
    if info is None:
        msg = (
            f"task queue {task_queue!r} has no topic {name} on {log.address}; make it with:"
            f" perdure topics create --task-queue {task_queue}"
        )
        raise LogError(msg)
    return info


class Pace(Protocol):
    """Whoever keeps the time of hosts that do not wait for it: a test environment."""

    def stepping(self, key: object) -> None:
        """A host takes a turn."""

    def turned(self, key: object, host: Host, wait_ms: int, ring: Callable[[], None]) -> None:
        """A host has taken a turn, and has nothing to do for so long; on the host's thread."""

    def left(self, key: object) -> None:
        """A host has ended."""


class HostThread:
    """Runs the workflows of a task queue in this process until it is stopped."""

    def __init__(
        self,
        log: Log,
        store: TableStore,
        code: Code,
        *,
        namespace: str,
        task_queue: str,
        limits: Limits | None = None,
        engine_keys: EngineKeys = NO_KEYS,
        owner: str = "",
        finding: Callable[[str, str], None] | None = None,
        runs_max: int = RUNS_MAX,
        checkpoints: str = "",
        checkpoint_every: int = CHECKPOINT_EVERY,
        viewer: Viewer | None = None,
        local: LocalWorker | None = None,
        eager: EagerWorker | None = None,
        clock: Clock | None = None,
        pace: Pace | None = None,
        registry: SchemaRegistry | None = None,
        trouble: TroubleLog | None = None,
    ) -> None:
        self._log = log
        self._store = store
        self._code = code
        self._namespace = namespace
        self._task_queue = task_queue
        self._limits = limits or Limits()
        self._engine_keys = engine_keys
        self._owner = owner or identity()
        self._finding = finding or _log_finding
        self._runs_max = runs_max
        self._checkpoints = checkpoints
        self._checkpoint_every = checkpoint_every
        self._viewer = viewer
        self._local = local
        self._eager = eager
        self._clock = clock or SystemClock()
        self._pace = pace
        self._registry = registry
        self._trouble = trouble or TroubleLog()
        self._bell = threading.Event()
        self._openers = ThreadPoolExecutor(OPENERS, thread_name_prefix="perdure-open")
        self._stopping, self._turned = threading.Event(), threading.Event()
        self.settled = threading.Event()
        """Set once every partition this process was given first is owned."""
        self.error: BaseException | None = None
        self.host: Host | None = None
        self._thread = threading.Thread(target=self._run, name="perdure-host", daemon=True)

    def start(self) -> None:
        """Start owning partitions."""
        self._thread.start()

    def finish_local(self, timeout_s: float) -> None:
        """Let the local activities that run end and be recorded, but for no longer than that."""
        if self._local is None or not timeout_s or not self._thread.is_alive():
            return
        self._local.finish(timeout_s)
        # The second turn that ends has begun after the last report.
        for _ in range(2):
            self._turned.clear()
            self._bell.set()
            self._turned.wait(TURN_S_MAX)

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """Let go of everything and wait for it."""
        self._stopping.set()
        self._bell.set()
        self._thread.join(timeout_s)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the host has ended; whether it has."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            host = self.host = self._make()
        except BaseException as error:
            self.error = error
            self.settled.set()
            return
        bell, stopping, pace = self._bell, self._stopping, self._pace
        try:
            while not stopping.is_set():
                bell.clear()
                if pace is not None:
                    pace.stepping(self)
                wait_ms = host.step()
                self._turned.set()
                self._trouble.flush()
                if not self.settled.is_set() and host.is_settled:
                    self.settled.set()
                if pace is not None:
                    pace.turned(self, host, wait_ms, bell.set)
                if wait_ms:
                    bell.wait(wait_ms / 1000)
        except BaseException as error:
            self.error = error
            # What a log has lost is for its owner to see to: where that was found says nothing.
            shows = not isinstance(error, LogEndLostError)
            logger.error(
                "the host has stopped: partitions move to other processes: %s",
                error,
                exc_info=shows,
            )
        finally:
            self.settled.set()
            self._turned.set()
            if pace is not None:
                pace.left(self)
            host.close()
            if self._local is not None:
                self._local.close()
            self._openers.shutdown()
            self._trouble.close()
            self._code.close()
            self._store.close()

    def _make(self) -> Host:
        logger.info("a host of task queue %r joins at %s", self._task_queue, self._log.address)
        while True:
            try:
                return Host(self._services(), self._answers, ring=self._bell.set, announces=True)
            except LogUnavailableError as error:
                if self._stopping.wait(AWAY_RETRY_S):
                    raise
                logger.warning("waiting for the log: %s", error)

    def _services(self) -> Services:
        log = self._log
        commands = _topic(log, "commands", self._namespace, self._task_queue)
        events = _topic(log, "events", self._namespace, self._task_queue)
        text = disagreement(self._task_queue, [commands, events])
        if text:
            raise TopicMismatchError(text)
        check_recorded(log, events)
        self._answers = AnswerSender(log, self._namespace)
        return Services(
            log=log,
            store=self._store,
            clock=self._clock,
            random=random.SystemRandom(),
            code=self._code,
            answers=self._answers,
            inputs=log.tail(on_ready=self._bell.set, committed=True),
            namespace=self._namespace,
            task_queue=self._task_queue,
            partitions=commands.partitions,
            commands_topic_id=commands.topic_id,
            events_topic_id=events.topic_id,
            owner=self._owner,
            limits=self._limits,
            engine_keys=self._engine_keys,
            workers_of=WorkerCount(log, self._namespace),
            types=AttributeTypes(),
            finding=self._finding,
            memory=RunMemory(runs_max=max(RUNS_MIN, self._runs_max)),
            run=self._openers.submit,
            checkpoints=self._checkpoints,
            checkpoint_every=self._checkpoint_every if self._checkpoints else 0,
            viewer=self._viewer,
            trouble=self._trouble,
            local=self._local or NoLocalRunner(),
            eager=self._eager,
            framing=Framing(self._registry, self._bell.set),
        )


def _log_finding(code: str, text: str) -> None:
    logger.warning("%s: %s", code, text)
