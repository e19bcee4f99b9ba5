"""One workflow, one activity, one process: what Perdure is, in thirty lines.

What it teaches: a workflow is a class with a run method; what touches the world is an activity;
a worker runs both; a client starts workflows and waits for them. Run it without a broker:

    python -m examples.hello.app
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure import activity, workflow
from perdure.client import Client
from perdure.worker import Worker

TASK_QUEUE = "greetings"


@activity.defn
async def compose(name: str) -> str:
    """What a workflow may not do itself: anything that is not the same when it is done again."""
    return f"Hello, {name}!"


@workflow.defn
class Greeting:
    """Greets, however often its process is killed meanwhile."""

    @workflow.run
    async def run(self, name: str) -> str:
        """The greeting."""
        return await workflow.execute_activity(
            compose, name, start_to_close_timeout=timedelta(seconds=10)
        )


async def main(target: str = "file:./data") -> str:
    """Be worker and client at once."""
    client = await Client.connect(target)
    async with Worker(client, task_queue=TASK_QUEUE, workflows=[Greeting], activities=[compose]):
        greeting = await client.execute_workflow(
            Greeting.run, "world", id="greeting-1", task_queue=TASK_QUEUE
        )
    await client.close()
    return greeting


if __name__ == "__main__":
    print(asyncio.run(main()))
