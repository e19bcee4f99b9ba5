"""`perdure relay`: publish what workflows emit to the topics that they name."""

from __future__ import annotations

import logging
import signal
import threading

from perdure import _assembly as assembly
from perdure.cli.output import error_console, text
from perdure.cli.target import Broker, Namespace, TaskQueue, target
from perdure_topics.names import group_name, task_queues_of, topic_name
from perdure_topics.ports import LogError

logger = logging.getLogger("perdure.relay")


def relay(
    task_queue: TaskQueue = None,
    broker: Broker = None,
    namespace: Namespace = "default",
) -> None:
    """Publish accepted emits of a task queue's workflows, each once, until told to stop.

    Readers of those topics that ask for committed records see each once. One relay of a task queue
    is enough; a second one waits, and goes on when the first ends. Without a queue, all of the
    namespace.
    """
    from perdure_views.relay import Relay
    from perdure_views.single_active import Turn

    where = target(broker, None)
    log, close = assembly.open_log(where)
    stop, bell = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        stop.set()
        bell.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    relays: list[Relay] = []
    try:
        queues = [task_queue] if task_queue else task_queues_of(log.topic_names(), namespace)
        for queue in queues:
            name = topic_name("events", namespace, queue)
            info = log.topic(name)
            if info is None:
                raise LogError(f"task queue {queue!r} has no topic {name} on {log.address}")
            group = group_name("relay", namespace, queue)
            publisher = assembly.open_publisher(where, group)
            turn = Turn(log, f"{group}-turn", name, ring=bell.set)
            relays.append(Relay(log, [info], publisher, turn=turn, ring=bell.set))
        if not relays:
            raise LogError(f"namespace {namespace!r} has no task queue on {log.address}")
        error_console().print(f"relaying {text(', '.join(queues))}", highlight=False)
        while not stop.is_set():
            bell.clear()
            waits = [one.step() for one in relays]
            if not stop.is_set():
                bell.wait(min(waits))
    finally:
        for one in relays:
            one.close()
        close()
