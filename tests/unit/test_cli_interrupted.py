"""Ctrl-C while the command is loading, and at its end: it ends, and shows no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HOOK = """
    import os, signal, sys

    class Interrupt:
        # Ctrl-C comes as this module is looked for.
        def find_spec(self, name, path=None, target=None):
            if name == os.environ["INTERRUPT_AT"]:
                sys.meta_path.remove(self)
                os.kill(os.getpid(), signal.SIGINT)

    sys.meta_path.insert(0, Interrupt())
"""
APP = """
    from perdure import workflow

    TASK_QUEUE = "q"

    @workflow.defn
    class Idle:
        @workflow.run
        async def run(self) -> None:
            pass
"""


def started(tmp_path: Path, *arguments: str, interrupt_at: str = "") -> subprocess.Popen[str]:
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HOOK))
    (tmp_path / "idle_app.py").write_text(textwrap.dedent(APP))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "INTERRUPT_AT": interrupt_at}
    return subprocess.Popen(
        [sys.executable, "-c", "from perdure.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )


@pytest.mark.parametrize(
    "module",
    [
        "typer",
        "perdure.client",
        "perdure_topics.embedded.embedded_log",
        "perdure.worker",
        "idle_app",
    ],
)
def test_ctrl_c_while_a_command_loads_ends_it_without_a_traceback(tmp_path, module):
    arguments = ("engine", "idle_app.py", "--data", str(tmp_path / "data"), "--port", "0")
    with started(tmp_path, *arguments, interrupt_at=module) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGINT
    assert out + err == ""


def test_ctrl_c_ends_an_engine_in_good_order_and_a_second_one_at_once(tmp_path):
    arguments = ("engine", "idle_app.py", "--data", str(tmp_path / "data"), "--port", "0")
    with started(tmp_path, *arguments) as process:
        assert process.stderr is not None
        while "worker on task queue" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopping" in err
    assert "Traceback" not in err


PROGRAM = """
    import asyncio, sys
    from perdure.client import Client
    from perdure.worker import Worker
    from idle_app import Idle

    async def main():
        client = await Client.connect(f"file:{sys.argv[1]}")
        async with Worker(client, task_queue="q", workflows=[Idle]):
            print("up", flush=True)
            await asyncio.sleep(60)

    asyncio.run(main())
"""


@pytest.mark.parametrize("module", ["", "perdure_actors.worker.activity_worker"])
def test_ctrl_c_ends_a_program_with_a_worker_as_it_ends_any(tmp_path, module):
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(HOOK))
    (tmp_path / "idle_app.py").write_text(textwrap.dedent(APP))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "INTERRUPT_AT": module}
    with subprocess.Popen(
        [sys.executable, "program.py", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    ) as process:
        assert process.stdout is not None
        if not module:
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt")
    for noise in ("ignored", "never retrieved", "destroyed", "Fatal"):
        assert noise not in err
