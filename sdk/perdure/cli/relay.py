"""`perdure relay`: publish what workflows emit to the topics that they name."""

from __future__ import annotations

import logging
import signal
import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from perdure import _assembly as assembly
from perdure.cli.output import error_console, print_json, print_table, text
from perdure.cli.target import Broker, Namespace, Output, OutputFormat, TaskQueue, target
from perdure_topics.names import group_name, task_queues_of, topic_name
from perdure_topics.ports import Log, LogError
from perdure_topics.task_queue_topics import ensure_marks

if TYPE_CHECKING:
    from perdure_topics.ports import TopicInfo
    from perdure_topics.publisher_port import Publisher
    from perdure_views.relay_lanes import Lane

logger = logging.getLogger("perdure.relay")
ALL: Final = float("inf")


class Act(StrEnum):
    """What the command does."""

    RUN = "run"
    HELD = "held"
    RETRY = "retry"
    SKIP = "skip"


def relay(
    act: Annotated[
        Act,
        typer.Argument(
            help="run; or look at targets that are held back, publish to one again, or skip records"
            " of one, which go to the dead letters."
        ),
    ] = Act.RUN,
    task_queue: TaskQueue = None,
    broker: Broker = None,
    namespace: Namespace = "default",
    from_beginning: Annotated[  # noqa: FBT002 - an option
        bool,
        typer.Option(
            "--from-beginning", help="Where there is no mark: publish all that was ever emitted."
        ),
    ] = False,
    from_now: Annotated[  # noqa: FBT002 - an option
        bool,
        typer.Option(
            "--from-now", help="Where there is no mark: publish only what is emitted from now on."
        ),
    ] = False,
    target_topic: Annotated[
        str | None,
        typer.Option("--target", help="retry, skip: the topic, or TOPIC#PARTITION, as held says."),
    ] = None,
    skip_all: Annotated[  # noqa: FBT002 - an option
        bool, typer.Option("--all", help="skip: all that is held back, not only one record.")
    ] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Publish accepted emits of a task queue's workflows, each once, until told to stop.

    Readers of those topics that ask for committed records see each once. One relay of a task queue
    is enough; a second one waits, and goes on when the first ends. Without a queue, all of the
    namespace. `perdure relay held|retry|skip` act on targets that cannot be published to.
    """
    if from_beginning and from_now:
        raise typer.BadParameter("give --from-beginning or --from-now, not both")
    where = target(broker, None)
    log, close = assembly.open_log(where)
    try:
        if act is Act.RUN:
            _run(log, where, namespace, task_queue, (from_beginning, from_now))
            return
        if task_queue is None:
            raise typer.BadParameter(f"perdure relay {act} needs --task-queue")
        if act is not Act.HELD and target_topic is None:
            raise typer.BadParameter(f"perdure relay {act} needs --target: perdure relay held")
        _show(_settled(log, where, (namespace, task_queue), act, (target_topic, skip_all)), output)
    finally:
        close()


def _run(
    log: Log, where: str, namespace: str, task_queue: str | None, unmarked: tuple[bool, bool]
) -> None:
    from perdure_views.relay import Relay
    from perdure_views.relay_findings import RelayFindings
    from perdure_views.relay_source import Unmarked
    from perdure_views.single_active import Turn

    from_beginning, from_now = unmarked
    judge = Unmarked.PASS if from_now else Unmarked.REFUSE
    stop, bell = threading.Event(), threading.Event()

    def end(*_: object) -> None:
        stop.set()
        bell.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    relays: list[Relay] = []
    findings = RelayFindings(log, namespace, ring=bell.set)
    try:
        queues = [task_queue] if task_queue else task_queues_of(log.topic_names(), namespace)
        for queue in queues:
            info, publisher = _publisher(log, where, namespace, queue)
            group = f"{group_name('relay', namespace, queue)}-turn"
            turn = Turn(log, group, info.name, ring=bell.set)
            relays.append(
                Relay(
                    log,
                    [info],
                    publisher,
                    turn=turn,
                    ring=bell.set,
                    unmarked=Unmarked.PUBLISH if from_beginning else judge,
                    tell=findings.teller(queue),
                )
            )
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
        findings.close()


def _publisher(
    log: Log, where: str, namespace: str, task_queue: str
) -> tuple[TopicInfo, Publisher]:
    """The events of a queue, and what publishes what they emit."""
    name = topic_name("events", namespace, task_queue)
    info = log.topic(name)
    if info is None:
        raise LogError(f"task queue {task_queue!r} has no topic {name} on {log.address}")
    group = group_name("relay", namespace, task_queue)
    marks = topic_name("marks", namespace, task_queue)
    publisher = assembly.open_publisher(where, group, marks=marks)
    ensure_marks(log, namespace, task_queue)
    return info, publisher


def _settled(
    log: Log, where: str, queue: tuple[str, str], act: Act, what: tuple[str | None, bool]
) -> list[Lane]:
    """What is held back, or what came of an order about it."""
    import time

    from perdure_views.relay_lanes import Lanes
    from perdure_views.relay_targets import Targets

    target_topic, skip_all = what
    info, publisher = _publisher(log, where, *queue)
    lanes = Lanes(log, info, publisher, queue=queue)
    try:
        held = lanes.held()
        if act is Act.HELD or target_topic is None:
            return held
        if all(lane.target != target_topic for lane in held):
            names = ", ".join(sorted({lane.target for lane in held})) or "none"
            raise LogError(f"{target_topic!r} is not held back; those that are: {names}")
        return lanes.settle(
            target_topic,
            skips=0 if act is Act.RETRY else ALL if skip_all else 1,
            problem_of=Targets(log, time.monotonic).problem_of,
        )
    finally:
        lanes.close()


def _show(lanes: list[Lane], output: OutputFormat) -> None:
    if output is OutputFormat.JSON:
        print_json([lane._asdict() for lane in lanes])
        return
    print_table(
        ("TARGET", "PARTITION", "FROM OFFSET", "PUBLISHED", "SKIPPED", "HELD BACK BY"),
        [
            (
                text(lane.target),
                str(lane.partition),
                str(lane.offset),
                str(lane.published),
                str(lane.skipped),
                text(lane.why) if lane.is_behind else "nothing any more",
            )
            for lane in lanes
        ],
    )
