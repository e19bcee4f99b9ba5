"""`perdure worker` and `perdure engine`: run the workflows and activities of a module."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from perdure._gateway.serve import serving_engine
from perdure._telemetry import environment
from perdure.cli.output import SafeFormatter, error_console, text
from perdure.cli.supervisor import PROCESSES_MAX, command_of_one, port_of_process, run_fleet
from perdure.cli.target import Broker, Engine, Namespace, TaskQueue, target
from perdure.cli.user_modules import CONVENTION, Found, load
from perdure.client import Client, RPCError, RPCStatusCode
from perdure.converter import DataConverter
from perdure.worker import Worker
from perdure_topics.task_queue_topics import ensure_topics
from perdure_views.gateway.settings import Settings

ENGINE_PORT: Final = 8080

Module = Annotated[str, typer.Argument(metavar="MODULE", help=CONVENTION)]
WorkflowsOnly = Annotated[bool, typer.Option("--workflows-only", help="Run no activities here.")]
ActivitiesOnly = Annotated[bool, typer.Option("--activities-only", help="Run no workflows here.")]
Slots = Annotated[
    int, typer.Option("--max-concurrent-activities", min=1, help="Activities at once.")
]
Grace = Annotated[
    float,
    typer.Option(
        "--graceful-shutdown-timeout",
        min=0,
        help="Seconds that running activities get to finish when told to stop.",
    ),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Where tables are kept. [env: PERDURE_STATE_DIR]"),
]
Processes = Annotated[
    int,
    typer.Option("--processes", min=1, max=PROCESSES_MAX, help="Processes to run, each the same."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        envvar="PERDURE_METRICS_PORT",
        min=0,
        max=65535,
        help="Serve metrics to Prometheus here; with --processes each has the next port.",
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]


def worker(
    module: Module,
    broker: Broker = None,
    engine: Engine = None,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    state_dir: StateDir = None,
    workflows_only: WorkflowsOnly = False,  # noqa: FBT002 - an option
    activities_only: ActivitiesOnly = False,  # noqa: FBT002 - an option
    max_concurrent_activities: Slots = 100,
    graceful_shutdown_timeout: Grace = 10.0,
    processes: Processes = 1,
    metrics_port: MetricsPort = None,
    verbose: Verbose = False,  # noqa: FBT002 - an option
) -> None:
    """Run the workflows and activities of MODULE, in any number of processes.

    With --engine only its activities run here: the engine runs the workflows.
    """
    set_up_logging(verbose=verbose)
    found = load(module)
    if processes > 1:
        raise typer.Exit(run_fleet(command_of_one(sys.argv[1:]), processes))
    queue = queue_of(module, found, task_queue)
    is_remote = engine is not None or (broker is None and bool(os.environ.get("PERDURE_ENGINE")))
    chosen = chosen_of(
        module, found, workflows_only=workflows_only, activities_only=activities_only or is_remote
    )

    async def go() -> None:
        client = await _connect(target(broker, engine), namespace, found.data_converter)
        try:
            await serve_worker(
                client,
                queue,
                chosen,
                state_dir=state_dir,
                slots=max_concurrent_activities,
                grace_s=graceful_shutdown_timeout,
                metrics_port=metrics_port,
            )
        finally:
            await client.close()

    asyncio.run(go())


def engine(
    module: Module,
    data: Annotated[Path, typer.Option("--data", help="The directory that this engine owns.")],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Loopback port; 0 takes a free one.")
    ] = ENGINE_PORT,
    task_queue: TaskQueue = None,
    namespace: Namespace = "default",
    workflows_only: WorkflowsOnly = False,  # noqa: FBT002 - an option
    activities_only: ActivitiesOnly = False,  # noqa: FBT002 - an option
    max_concurrent_activities: Slots = 100,
    graceful_shutdown_timeout: Grace = 10.0,
    metrics_port: MetricsPort = None,
    verbose: Verbose = False,  # noqa: FBT002 - an option
) -> None:
    """Own an embedded log: run MODULE on it, and serve clients and workers of this machine.

    No broker is needed. Workers of other processes connect with --engine.
    """
    set_up_logging(verbose=verbose)
    found = load(module)
    queue = queue_of(module, found, task_queue)
    chosen = chosen_of(
        module, found, workflows_only=workflows_only, activities_only=activities_only
    )

    async def go() -> None:
        client = await Client.connect(
            f"file:{data}", namespace=namespace, data_converter=found.data_converter
        )
        try:
            await asyncio.to_thread(ensure_topics, client.log, namespace, queue)
            async with serving_engine(client, Settings(port=port)) as address:
                say(f"engine and pages at {address}, data in {data}")
                await serve_worker(
                    client,
                    queue,
                    chosen,
                    state_dir=None,
                    slots=max_concurrent_activities,
                    grace_s=graceful_shutdown_timeout,
                    metrics_port=metrics_port,
                )
        finally:
            await client.close()

    asyncio.run(go())


def chosen_of(
    module: str, found: Found, *, workflows_only: bool, activities_only: bool
) -> tuple[list[type], list[Callable[..., Any]]]:
    """The workflows and activities that run here. Raises BadParameter when there are none."""
    if workflows_only and activities_only:
        raise typer.BadParameter(
            "nothing would run: leave --workflows-only or --activities-only out"
        )
    workflows = [] if activities_only else found.workflows
    activities = [] if workflows_only else found.activities
    if not workflows and not activities:
        kind = "activity" if activities_only else "workflow"
        raise typer.BadParameter(f"{module} defines no {kind}, so nothing would run")
    return workflows, activities


def queue_of(module: str, found: Found, given: str | None) -> str:
    """The task queue of a module. Raises BadParameter when none is known."""
    queue = given or found.task_queue
    if not queue:
        raise typer.BadParameter(f"give --task-queue, or set TASK_QUEUE = ... in {module}")
    return queue


async def _connect(where: str, namespace: str, converter: DataConverter) -> Client:
    """A client, however long its log is away: a worker waits for it, and says so."""
    while True:
        try:
            return await Client.connect(
                where, namespace=namespace, data_converter=converter, lazy=True
            )
        except RPCError as error:
            if error.status != RPCStatusCode.UNAVAILABLE:
                raise
            say(f"{error}; it keeps trying")


async def serve_worker(
    client: Client,
    task_queue: str,
    chosen: tuple[list[type], list[Callable[..., Any]]],
    *,
    state_dir: Path | None,
    slots: int,
    grace_s: float,
    metrics_port: int | None = None,
) -> None:
    """Run a worker until it is told to stop."""
    environment.set_up_tracing(task_queue)
    if metrics_port is not None:
        place = environment.serve_metrics(port_of_process(metrics_port), task_queue)
        say(f"metrics at {place}")
    workflows, activities = chosen
    running = Worker(
        client,
        task_queue=task_queue,
        workflows=workflows,
        activities=activities,
        max_concurrent_activities=slots,
        graceful_shutdown_timeout=timedelta(seconds=grace_s),
        state_directory=state_dir,
    )
    # What is loaded by now stays: the collector need not walk it again and again.
    gc.freeze()
    stop = stop_on_signals()
    work = asyncio.create_task(running.run())
    waiting = asyncio.create_task(stop.wait())
    kinds = [("workflows", len(workflows)), ("activities", len(activities))]
    what = " and ".join(f"{number} {kind}" for kind, number in kinds if number)
    say(f"worker on task queue {task_queue!r} at {client.log.address}: {what}")
    await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not work.done():
        say("stopping; again to stop at once")
        await running.shutdown()
    await work


def stop_on_signals() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT; the second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop


def say(what: str) -> None:
    """Tell the person at the terminal."""
    error_console().print(f"[dim]perdure[/] {text(what)}")


def set_up_logging(*, verbose: bool) -> None:
    """Show warnings; with verbose, what goes on."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if verbose:
        for name in ("perdure", "perdure_actors", "perdure_topics"):
            logging.getLogger(name).setLevel(logging.INFO)
