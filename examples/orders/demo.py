"""A hundred orders through three processes, two of which are killed: `make demo`.

The engine runs the workflow code, the worker the activities; this process is the client. The
worker is killed while charges run, the engine while orders are open, and both are started again.
One refund fails until it is out of attempts: its run waits for a person, who retries it.
Exit status 0 says that everything that is claimed at the end was found to hold.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.orders import processes
from examples.orders.app import TASK_QUEUE, Order, OrderWorkflow
from examples.orders.clients import BANK_OPENED, REFUND_FAILS_TWICE, REFUND_NEVER, SOLD_OUT
from examples.orders.proof import Claim, check_journal, check_log
from perdure.cli.timeline import print_timeline
from perdure.client import (
    Client,
    RPCError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
)
from perdure.exceptions import ApplicationError

ORDERS = 100
PATIENCE_S = 110.0
OPEN_SHOWN = 5
ASK = timedelta(seconds=5)
SLOW_REFUND = 7
NO_REFUND = 13
WORDS = {
    "shipped": "shipped",
    "shipped, not notified": "shipped, the notification failed",
    "OrderRefunded": "sold out, refunded",
}


def order_of(number: int) -> Order:
    """The order of a number, and what will go wrong with it."""
    product, bank, email = "lamp", "bank", f"user-{number}@example.org"
    if number == NO_REFUND:
        product, bank = SOLD_OUT, REFUND_NEVER
    elif number % 20 == SLOW_REFUND:
        product, bank = SOLD_OUT, REFUND_FAILS_TWICE
    elif number % 7 == 0:
        product = SOLD_OUT
    elif number % 9 == 0:
        email = ""
    return Order(
        order_id=f"order-{number:03}",
        user_id=f"user-{number}",
        product_id=product,
        quantity=1 + number % 3,
        amount_cents=1_000 + number,
        bank=bank,
        email=email or None,
    )


class Demo:
    """The run: what is open, how each order ended, and the two processes that die."""

    def __init__(self, folder: Path, console: Console, progress: Progress) -> None:
        self.folder = folder
        self.journal = folder / "journal.jsonl"
        self.outcomes: dict[str, str] = {}
        self.needed_person: set[str] = set()
        self._console = console
        self._progress = progress
        self._bar = progress.add_task("orders", total=ORDERS)
        port = processes.free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.engine = processes.engine(folder, port)
        self.worker = processes.worker(folder, port)

    async def run(self) -> WorkflowHistory:
        """Start everything, kill what is to be killed, and wait for every order."""
        self.engine.start()
        client = await self._connect()
        self.worker.start()
        try:
            self._say("three processes: engine (workflow code), worker (activities), this client")
            orders = [asyncio.create_task(self._order(client, n)) for n in range(ORDERS)]
            parked = orders.pop(NO_REFUND)
            killing = asyncio.create_task(self._kill())
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(killing, *orders)
                await self._mend(client)
                await parked
        except TimeoutError:
            await self._say_what_is_open(client)
            raise
        else:
            story = client.get_workflow_handle(f"order-{SLOW_REFUND:03}", task_queue=TASK_QUEUE)
            return await story.fetch_history()
        finally:
            await client.close()

    async def _mend(self, client: Client) -> None:
        """Be the person that a run waits for: find it, see why, and have it tried again."""
        name = order_of(NO_REFUND).order_id
        handle = client.get_workflow_handle(name, task_queue=TASK_QUEUE)
        status = (await handle.describe()).status
        while status is not WorkflowExecutionStatus.BLOCKED:
            await asyncio.sleep(0.2)
            status = (await handle.describe()).status
        # Those that need a person come first, in every list.
        async for run in client.list_workflows(task_queue=TASK_QUEUE, limit=1):
            if run.id == name and run.block is not None:
                self.needed_person.add(run.id)
                cause = run.block.message.partition("\n")[0]
                self._say(f"[bold red]NEEDS A PERSON[/]: {run.id}, first of {ORDERS} in the list")
                self._say(f"  {cause}")
        retry = ["activity", "retry", "--id", name, "--activity-type", "refund_payment"]
        self._say(f"the bank opens, and somebody runs: perdure {' '.join(retry)}")
        (self.folder / BANK_OPENED).touch()
        command = [sys.executable, "-m", "perdure.cli", *retry, "--engine", self.url]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the retry of {name} was refused: {done.stderr}")

    async def _say_what_is_open(self, client: Client) -> None:
        """Where the orders stand that did not end in time: what they wait for, and their events."""
        names = [order_of(number).order_id for number in range(ORDERS)]
        for name in [name for name in names if name not in self.outcomes][:OPEN_SHOWN]:
            try:
                handle = client.get_workflow_handle(name, task_queue=TASK_QUEUE)
                found = await handle.describe(rpc_timeout=ASK)
                self._say(f"{name}: {found.status and found.status.name}, {found.block or ''}")
                for waiting in found.pending_activities:
                    self._say(f"  {waiting}")
                for notice in found.notices:
                    self._say(f"  {notice}")
                print_timeline(await handle.fetch_history(rpc_timeout=ASK))
            except (RPCError, TimeoutError) as error:
                self._say(f"{name}: {error!r}")

    async def _connect(self) -> Client:
        for _ in range(20):
            self.engine.check()
            try:
                return await Client.connect(self.url)
            except RPCError:
                await asyncio.sleep(0.5)
        raise RuntimeError(f"the engine at {self.url} did not answer")

    async def _order(self, client: Client, number: int) -> None:
        order = order_of(number)
        try:
            outcome = await client.execute_workflow(
                OrderWorkflow.run, order, id=order.order_id, task_queue=TASK_QUEUE
            )
        except WorkflowFailureError as error:
            cause = error.cause
            outcome = (cause.type or "") if isinstance(cause, ApplicationError) else str(cause)
        self.outcomes[order.order_id] = outcome
        self._progress.advance(self._bar)

    async def _kill(self) -> None:
        await self._until(lambda: self._charges() >= 30)
        self.worker.kill()
        self._say(f"SIGKILL to the worker, after {self._charges()} charges")
        await asyncio.sleep(0.5)
        self.worker.start()
        await self._until(lambda: len(self.outcomes) >= ORDERS // 2)
        self.engine.kill()
        self._say(f"SIGKILL to the engine, with {ORDERS - len(self.outcomes)} orders open")
        await asyncio.sleep(0.5)
        self.engine.start()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self.engine.check()
            self.worker.check()
            await asyncio.sleep(0.05)

    def _charges(self) -> int:
        if not self.journal.exists():
            return 0
        return self.journal.read_text().count('"charge"')

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}")


def print_outcomes(console: Console, outcomes: dict[str, str]) -> None:
    """The table of how the orders ended."""
    table = Table(title="Outcomes", title_justify="left", box=None, pad_edge=False)
    table.add_column("orders", justify="right")
    table.add_column("how they ended")
    for outcome, count in Counter(outcomes.values()).most_common():
        table.add_row(str(count), WORDS.get(outcome, outcome))
    console.print(table)


def print_proof(console: Console, claims: list[Claim]) -> bool:
    """What was claimed, and whether all of it holds."""
    console.print("[bold]Proof[/]")
    for claim in claims:
        sign = "[green]holds[/]" if claim.holds else "[bold red]BROKEN[/]"
        console.print(f"  {sign}  {claim.text}")
    return all(claim.holds for claim in claims)


def main() -> int:
    logging.getLogger("perdure.client").setLevel(logging.ERROR)
    logging.getLogger("perdure_topics").setLevel(logging.ERROR)
    console = Console(highlight=False)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="perdure-demo-") as name:
        folder = Path(name)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            demo = Demo(folder, console, progress)
            try:
                history = asyncio.run(demo.run())
            except TimeoutError:
                missing = ORDERS - len(demo.outcomes)
                console.print(f"[bold red]{missing} orders are open after {PATIENCE_S:.0f} s[/]")
                for process in (demo.engine, demo.worker):
                    said = process.log.read_text(errors="replace")[-1_500:]
                    console.print(f"[dim]{process.name}:\n{said}[/]", markup=True)
                return 1
            finally:
                demo.worker.stop()
                demo.engine.stop()
        print_outcomes(console, demo.outcomes)
        console.print(f"\n[bold]The timeline of order-{SLOW_REFUND:03}[/]")
        print_timeline(history)
        failed = [order for order, outcome in demo.outcomes.items() if outcome == "OrderRefunded"]
        claims = [
            Claim(
                f"{ORDERS} orders started, {len(demo.outcomes)} ended, each in a known way",
                len(demo.outcomes) == ORDERS and set(demo.outcomes.values()) <= set(WORDS),
            ),
            *check_journal(demo.journal, failed=failed, needed_person=demo.needed_person),
            *check_log(folder / "data", task_queue=TASK_QUEUE, orders=ORDERS),
        ]
        console.print()
        holds = print_proof(console, claims)
    console.print(f"{time.monotonic() - began:.0f} s")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
