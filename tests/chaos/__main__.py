"""python -m tests.chaos [--minutes N] [--seed S] [--only FAULT]: strike for so long, and check.

Ends with 1 when a promise was broken. The folder with all logs is kept then.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from perdure.client import Client, RPCError
from tests.broker.processes import QUEUE
from tests.chaos.nemesis import Nemesis
from tests.chaos.promises import Verdict, read_notes, verdict
from tests.chaos.report import report
from tests.chaos.stage import Stage

LONGEST_S = 40.0
REST_S = 180.0
"""So long everything has, from the last fault on, to come to its end."""
CLOCK_SLACK_MS = 3 * 86_400_000


class Outcome:
    """A run of it, from the first process to the last check."""

    def __init__(
        self, folder: Path, *, seed: int, minutes: float, longest_s: float, only: str = ""
    ) -> None:
        self.seed = seed
        self.minutes = minutes
        self.stage = Stage(folder, seed=seed, hosts=3, workers=2, talkers=2)
        self.nemesis = Nemesis(self.stage, seed=seed, longest_s=longest_s, only=only)
        self.verdict: Verdict | None = None

    async def play(self) -> list[str]:
        """Everything; the broken promises."""
        stage = self.stage
        try:
            await asyncio.to_thread(stage.open)
            await self._warm()
            await self.nemesis.rage(time.monotonic() + self.minutes * 60)
            await self.nemesis.heal()
            late = await self._rest()
            for name in (*stage.of("talker"), *stage.of("host"), *stage.of("worker")):
                if name in stage.running:
                    await asyncio.to_thread(stage.stop, name)
            slack_ms = (
                CLOCK_SLACK_MS if any("clock" in b.fault for b in self.nemesis.blows) else 5_000
            )
            self.verdict = await asyncio.to_thread(
                verdict, stage, stage.notes, clock_slack_ms=slack_ms
            )
            self.verdict.broken[:0] = late
        finally:
            await asyncio.to_thread(stage.close)
        return [*self.verdict.broken, *stage.ended]

    async def _warm(self) -> None:
        """Wait until something has been seen to its end."""
        deadline_s = time.monotonic() + REST_S
        while not any(
            note["op"] == "result" and note["stage"] == "ok"
            for note in read_notes(self.stage.notes)
        ):
            assert time.monotonic() < deadline_s, f"nothing comes to its end\n{self.stage.report()}"
            await asyncio.sleep(0.2)

    async def _rest(self) -> list[str]:
        """Let all that was begun come to its end; what did not."""
        stage, deadline_s = self.stage, time.monotonic() + REST_S
        (stage.folder / "calm").touch()
        client = await Client.connect(stage.target, namespace=stage.namespace)
        left = ["nothing was asked"]
        try:
            while left and time.monotonic() < deadline_s:
                await asyncio.sleep(0.5)
                stage.watch()
                try:
                    left = await self._left(client)
                except RPCError as error:
                    left = [f"asking what is left: {error.message}"]
        finally:
            await client.close()
        return [f"H: after {REST_S:g} s of calm still: {text}" for text in left[:20]]

    async def _left(self, client: Client) -> list[str]:
        """What has not ended: talkers, and runs; books whose talker was killed are closed here."""
        talking = [name for name in self.stage.of("talker") if name in self.stage.running]
        left = [
            f"{name} still talks" for name in talking if self.stage.running[name].status is None
        ]
        span = timedelta(seconds=20)
        query = "ExecutionStatus = 'Running'"
        async for run in client.list_workflows(query, task_queue=QUEUE, rpc_timeout=span):
            left.append(f"{run.id} is {run.status and run.status.name.lower()}")
            if run.id.startswith("book-") and not talking_of(run.id, self.stage):
                handle = client.get_workflow_handle(run.id, task_queue=QUEUE)
                await handle.signal("close", rpc_timeout=span)
        async for run in client.list_workflows(
            "ExecutionStatus = 'Blocked'", task_queue=QUEUE, rpc_timeout=span
        ):
            left.append(f"{run.id} is blocked")
        return left


def talking_of(id: str, stage: Stage) -> bool:
    """Whether the talker that opened a book lives and will close it."""
    who = id.removeprefix("book-").rpartition("-")[0]
    return any(
        process.status is None
        for name, process in stage.running.items()
        if stage.who.get(name) == who
    )


def main() -> int:
    """Run it, print the report, say how it is run again."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--longest", type=float, default=LONGEST_S, help="seconds a fault lasts")
    parser.add_argument(
        "--only", default="", help="a part of the name of the faults that there are"
    )
    parser.add_argument("--report", type=Path, help="write the report here, too")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {asked.seed}, {asked.minutes:g} minutes, everything in {folder}", flush=True)
    outcome = Outcome(
        folder,
        seed=asked.seed,
        minutes=asked.minutes,
        longest_s=asked.longest,
        only=asked.only,
    )
    broken = asyncio.run(outcome.play())
    assert outcome.verdict is not None
    text = report(
        seed=asked.seed,
        minutes=asked.minutes,
        blows=outcome.nemesis.blows,
        verdict=outcome.verdict,
        ended=outcome.stage.ended,
    )
    print(text)
    if asked.report:
        asked.report.write_text(text)
    if not broken:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
