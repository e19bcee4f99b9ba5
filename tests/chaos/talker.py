"""python -m tests.chaos.talker: a client that starts, tells, asks and awaits, and notes it all.

Each call leaves a line before it is made and one when it was answered, so whoever kills this
process still knows what was promised. A file `calm` beside the notes ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure.client import Client, RPCError, WorkflowFailureError, WorkflowHandle
from tests.broker.orders_app import Job
from tests.broker.processes import QUEUE

OPEN_MAX = 24
"""So many things are under way at once: what a machine of two cores bears beside the faults."""
GAP_S = 0.15
CALL = timedelta(seconds=90)
HOUR = timedelta(hours=1)


class Notes:
    """A file of lines: what was called, and what came of it."""

    def __init__(self, path: Path, who: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._who = who

    def write(self, op: str, id: str, stage: str, **facts: Any) -> None:
        """One line, in one write."""
        line = {"who": self._who, "op": op, "id": id, "stage": stage, "at": time.time(), **facts}
        os.write(self._file, f"{json.dumps(line)}\n".encode())

    async def call(
        self, op: str, id: str, what: Callable[[], Awaitable[Any]], **facts: Any
    ) -> tuple[bool, Any]:
        """Make a call; whether it was answered, and what."""
        self.write(op, id, "invoke", **facts)
        began = time.monotonic()
        try:
            answer = await what()
        except WorkflowFailureError as error:
            self.write(op, id, "failed", error=repr(error.cause), **facts)
            return False, None
        except RPCError as error:
            self.write(op, id, "info", error=f"{error.status.name}: {error.message}", **facts)
            return False, None
        took = time.monotonic() - began
        kept = answer if isinstance(answer, str | int | dict) else None
        self.write(op, id, "ok", took=took, answer=kept, **facts)
        return True, answer


class Talker:
    """One client process's days."""

    def __init__(self, client: Client, notes: Notes, who: str, rng: random.Random) -> None:
        self._client = client
        self._notes = notes
        self._who = who
        self._rng = rng
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def live(self, calm: Path) -> None:
        """Begin one thing after another until it is to be calm, and see them to their ends."""
        kinds = [self._chain, self._chain, self._chain, self._book, self._family]
        while not calm.exists():  # noqa: ASYNC240 - one look every 0.15 s
            if len(self._tasks) < OPEN_MAX:
                self._number += 1
                id = f"{self._who}-{self._number}"
                task = asyncio.create_task(self._rng.choice(kinds)(id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(GAP_S)
        await asyncio.gather(*self._tasks)

    async def _start(self, op: str, workflow: str, id: str, *args: Any) -> WorkflowHandle[Any, Any]:
        async def begin() -> str | None:
            handle = await self._client.start_workflow(
                workflow, args=args, id=id, task_queue=QUEUE, rpc_timeout=CALL
            )
            return handle.result_run_id

        await self._notes.call(op, id, begin)
        return self._client.get_workflow_handle(id, task_queue=QUEUE)

    async def _result(self, handle: WorkflowHandle[Any, Any]) -> None:
        await self._notes.call(
            "result", handle.id, lambda: handle.result(rpc_timeout=timedelta(minutes=10))
        )

    async def _chain(self, id: str) -> None:
        rng = self._rng
        job = Job(
            f"chain-{id}",
            steps=rng.randrange(1, 5),
            pause_ms=rng.choice((0, 20, 200, 1_500)),
            nap_ms=rng.choice((0, 50, 800)),
            failures=rng.choice((0, 0, 1)),
        )
        await self._result(await self._start("start", "Chain", job.name, job))

    async def _family(self, id: str) -> None:
        await self._result(await self._start("start", "Parent", f"family-{id}", f"family-{id}"))

    async def _book(self, id: str) -> None:
        """A run that is told things, the first of them before it is there."""
        handle = self._client.get_workflow_handle(f"book-{id}", task_queue=QUEUE)
        told: list[str] = []

        async def tell(number: int, *, early: bool = False) -> None:
            entry = f"{handle.id}/{number}"
            if number % 4:
                wait = HOUR if early else None
                ok, _ = await self._notes.call(
                    "signal",
                    handle.id,
                    lambda: handle.signal("note", entry, buffer_for=wait, rpc_timeout=CALL),
                    entry=entry,
                )
            else:
                ok, _ = await self._notes.call(
                    "update",
                    handle.id,
                    lambda: handle.execute_update("book", entry, id=entry, rpc_timeout=CALL),
                    entry=entry,
                )
            if ok:
                told.append(entry)

        await tell(1, early=True)
        await self._start("start", "Ledger", handle.id)
        for number in range(2, self._rng.randrange(4, 14)):
            await tell(number)
            if number % 5 == 0:
                known = set(told)
                ok, heard = await self._notes.call(
                    "query", handle.id, lambda: handle.query("heard", rpc_timeout=CALL)
                )
                if ok and not known <= set(heard):
                    self._notes.write("query", handle.id, "unheard", lacks=sorted(known - {*heard}))
        await self._notes.call("close", handle.id, lambda: handle.signal("close", rpc_timeout=CALL))
        await self._result(handle)


async def main() -> None:
    """Live until it is calm."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("broker", "namespace", "name", "notes"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    asked = parser.parse_args()
    path = Path(asked.notes)
    while True:
        try:
            client = await Client.connect(asked.broker, namespace=asked.namespace)
            break
        except RPCError as error:
            print(f"not connected yet: {error.message}", flush=True)
    talker = Talker(client, Notes(path, asked.name), asked.name, random.Random(asked.seed))
    await talker.live(path.with_name("calm"))
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
