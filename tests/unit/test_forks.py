"""A client in a process that was forked from its own: it says so at once, and harms nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker

ROOMS = Path(__file__).parents[2]


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, n: int) -> int:
        return n


PROGRAM = """
    import asyncio, gc, os, sys
    from perdure.client import Client
    from perdure.service import RPCError
    from perdure.worker import Worker
    from tests.unit.test_forks import Echo

    kept = {{}}

    async def said(call):
        try:
            await asyncio.wait_for(call(), 20)
        except RPCError as error:
            return str(error)
        return "nothing"

    def in_child():
        client = kept["client"]
        handle = kept["handle"]
        calls = {{
            "start": lambda: client.start_workflow(Echo.run, 1, id="c", task_queue="q"),
            "result": lambda: handle.result(),
            "describe": lambda: handle.describe(),
            "count": lambda: client.count_workflows(),
            "health": lambda: client.service_client.check_health(),
            "worker": lambda: Worker(client, task_queue="q", workflows=[Echo]).run(),
        }}
        for name, call in calls.items():
            print(name, asyncio.run(said(call)))
        asyncio.run(client.close())
        {ending}

    async def main(directory):
        client = kept["client"] = await Client.connect(f"file:{{directory}}")
        async with Worker(client, task_queue="q", workflows=[Echo]):
            run = client.execute_workflow
            assert await run(Echo.run, 1, id="before", task_queue="q") == 1
            kept["handle"] = client.get_workflow_handle("before", task_queue="q")
            child = os.fork()
            if child == 0:
                # A loop that runs belongs to the parent; the child goes on without it.
                asyncio._set_running_loop(None)
                try:
                    in_child()
                finally:
                    os._exit(1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            print("child", os.waitstatus_to_exitcode(status))
            assert await run(Echo.run, 2, id="after", task_queue="q") == 2
        await client.close()
        print("parent well")

    asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("sys.stdout.flush(); os._exit(7)", 7),
        ("sys.stdout.flush(); os.kill(os.getpid(), 9)", -9),
        ("kept.clear(); gc.collect(); sys.stdout.flush(); os._exit(7)", 7),
    ],
)
def test_a_client_used_after_a_fork_says_so_and_its_parent_goes_on(tmp_path, ending, status):
    program = textwrap.dedent(PROGRAM).format(ending=ending)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=ROOMS,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    for name in ("start", "result", "describe", "count", "health", "worker"):
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert "Connect after the fork" in line, line
    assert f"child {status}" in lines
    assert lines[-1] == "parent well"
    assert "Traceback" not in done.stderr


LOGS = {
    "embedded": """
        import sys
        from tests.embedded_rig import EVENTS, open_log, write
        log = open_log(sys.argv[1])
        write(log, EVENTS, [b"."] * 100)
    """,
    "tables": """
        import sys
        from perdure_topics.tables.rocksdb_tables import RocksTableStore
        log = RocksTableStore(sys.argv[1]).open("t")
        log.write([(b"a", b"b")], [])
    """,
    "kafka": """
        from perdure_topics.kafka.kafka_log import KafkaLog
        log = KafkaLog("127.0.0.1:1")
        appender = log.appender(on_ready=lambda: None)
        tail = log.tail(on_ready=lambda: None, committed=False)
    """,
}
FORK = """
    import gc, os
    child = os.fork()
    if child == 0:
        log = appender = tail = None
        gc.collect()
        print("ends", flush=True)
        sys.exit(7)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library must say how a process ends")
@pytest.mark.parametrize("log", LOGS)
def test_a_forked_process_ends_as_it_wants_to(tmp_path, log):
    program = "import sys\n" + textwrap.dedent(LOGS[log]) + textwrap.dedent(FORK)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOMS,
    )
    assert done.stdout.split() == ["ends", "child", "7"], done.stderr


def test_whoever_opens_a_database_or_a_broker_keeps_it_in_forks():
    opened = ("Consumer(", "Producer(", "AdminClient(", "Rdict(")
    for path in (ROOMS / "topics" / "perdure_topics").glob("*.py"):
        text = path.read_text()
        if any(f"= {one}" in text for one in opened):
            assert "keep_in_forks(self)" in text or path.stem == "kafka_rights", path


async def test_a_client_is_used_from_one_event_loop_after_another(tmp_path):
    """Each loop has its own part of the client; what one began another may end."""
    client = await Client.connect(f"file:{tmp_path}")

    def elsewhere(call: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        return asyncio.to_thread(asyncio.run, call)

    async with Worker(client, task_queue="q", workflows=[Echo]):
        handle = await client.start_workflow(Echo.run, 1, id="here", task_queue="q")
        assert await elsewhere(handle.result()) == 1
        started = client.start_workflow(Echo.run, 2, id="there", task_queue="q")
        handle = await elsewhere(started)
        assert await handle.result() == 2
        assert await elsewhere(handle.result()) == 2
    await client.close()
    assert os.getpid() == client.connection._process
