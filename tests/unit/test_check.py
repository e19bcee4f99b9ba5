"""`perdure check`: finds what replay cannot repeat, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perdure._checker.scanner import check_file
from perdure.cli import run

ROOT = Path(__file__).parents[2]
HEAD = """
import asyncio, datetime, os, random, socket, threading, time, uuid
import time as clock
from datetime import datetime as moment
from os import environ, getenv
from pathlib import Path
from random import randint
from perdure import activity, workflow
"""


def checked(tmp_path: Path, body: str, *, before: str = "") -> list[str]:
    """What is found in a workflow whose run method has these lines."""
    lines = "".join(f"        {line}\n" for line in body.splitlines())
    source = (
        f"{HEAD}{before}\n@workflow.defn\nclass Flow:\n    @workflow.run\n"
        f"    async def run(self):\n{lines}"
    )
    file = tmp_path / "flow.py"
    file.write_text(source)
    return [f"{one.what}: {one.remedy}" for one in check_file(file)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("time.time()", "time.time(): use workflow.now(), or workflow.time()"),
        ("clock.monotonic()", "time.monotonic(): use workflow.now(), or workflow.time()"),
        (
            "time.sleep(1)",
            "time.sleep(): use await asyncio.sleep(), or workflow.sleep(); both are durable",
        ),
        ("datetime.datetime.now()", "datetime.datetime.now(): use workflow.now()"),
        ("moment.utcnow()", "datetime.datetime.utcnow(): use workflow.now()"),
        ("datetime.date.today()", "datetime.date.today(): use workflow.now().date()"),
        ("random.choice([1])", "random.choice(): use workflow.random()"),
        ("randint(1, 2)", "random.randint(): use workflow.random()"),
        ("random.Random()", "random.Random(): give it a seed, or use workflow.new_random()"),
        ("uuid.uuid4()", "uuid.uuid4(): use workflow.uuid4() or workflow.uuid7()"),
        ("getenv('X')", "os.getenv(): read it in an activity, or pass it in the input"),
        ("os.environ['X']", "os.environ: read it in an activity, or pass it in the input"),
        ("environ.get('X')", "os.environ: read it in an activity, or pass it in the input"),
        ("os.path.exists('x')", "os.path.exists(): look at files in an activity"),
        ("open('x')", "open(): do it in an activity"),
        ("now = time.time\nnow()", "time.time(): use workflow.now(), or workflow.time()"),
        (
            "import numpy as np\nnp.random.rand()",
            "numpy.random.rand(): seed numpy.random.default_rng from workflow.random()",
        ),
        ("Path('x').read_text()", "Path.read_text(): do it in an activity"),
        ("threading.Thread()", "threading.Thread(): use asyncio's tasks and locks"),
        ("socket.socket()", "socket.socket(): do it in an activity"),
        ("await asyncio.to_thread(print)", "asyncio.to_thread(): run it in an activity"),
        (
            "await asyncio.get_running_loop().run_in_executor(None, print)",
            "run_in_executor(): run it in an activity",
        ),
        ("import requests; requests.get('x')", "requests.get(): do it in an activity"),
        ("import subprocess\nsubprocess.run(['x'])", "subprocess.run(): do it in an activity"),
        (
            "for x in {'a', 'b'}:\n    await asyncio.sleep(1)",
            "a loop over a set: go through sorted(...) of it",
        ),
        ("def inner():\n    return time.time()\ninner()", "time.time(): use workflow.now(), or"),
        ("[time.time() for _ in range(3)]", "time.time(): use workflow.now(), or"),
    ],
)
def test_a_call_that_replay_cannot_repeat_is_found(tmp_path: Path, line: str, found: str) -> None:
    (only,) = checked(tmp_path, line)

    assert only.startswith(found)


@pytest.mark.parametrize(
    "lines",
    [
        "workflow.now()",
        "workflow.random().choice([1])",
        "random.Random(7).random()",
        "uuid.uuid5(uuid.NAMESPACE_DNS, 'x')",
        "uuid.UUID(int=7)",
        "datetime.datetime(2024, 1, 1)",
        "datetime.datetime.fromtimestamp(0, datetime.UTC)",
        "moment.fromisoformat('2024-01-01')",
        "os.path.join('a', 'b')",
        "time.gmtime(7)",
        "await asyncio.sleep(1)",
        "workflow.side_effect(lambda: time.time())",
        "workflow.side_effect(time.time)",
        "def look():\n    return os.environ['X']\nworkflow.side_effect(look)",
        "workflow.mutable_side_effect('x', lambda: os.getpid())",
        "with workflow.unsafe.sandbox_unrestricted():\n    time.time()",
        "time = lambda: 7\ntime()",
        "class time:\n    time = staticmethod(lambda: 7)\ntime.time()",
        "open = workflow.patched\nopen('x')",
        "for x in sorted({'a', 'b'}):\n    await asyncio.sleep(1)",
        "for x in {'a', 'b'}:\n    self.total = x",
        "Path('x') / 'y'",
        "await workflow.execute_activity(read, start_to_close_timeout=None)",
        "await workflow.execute_local_activity(read, start_to_close_timeout=None)",
        "time.time()  # perdure: ignore",
        "raise socket.timeout",
        "isinstance(7, threading.Event)",
        "workflow.logger.info('at %s', workflow.now())",
        "{'open': open}.get",
        "import numpy as np\nnp.random.default_rng(7).random()",
        "now = time.time\nnow = workflow.time\nnow()",
        "with workflow.unsafe.sandbox_unrestricted():\n    now = time.time\n    now()",
    ],
)
def test_what_is_right_raises_no_alarm(tmp_path: Path, lines: str) -> None:
    before = "\n@activity.defn\nasync def read():\n    return open('x').read()\n"

    assert checked(tmp_path, lines, before=before) == []


def test_what_a_workflow_reaches_is_followed_and_said(tmp_path: Path) -> None:
    file = tmp_path / "flow.py"
    file.write_text(
        f"""{HEAD}
def stamp():
    return deeper()

def deeper():
    return time.time()

def unreached():
    return time.time()

class Helper:
    def __init__(self):
        self.at = uuid.uuid4()

class Based:
    def from_base(self):
        return random.random()

@workflow.defn
class Flow(Based):
    @workflow.run
    async def run(self):
        stamp()
        Helper()
        self.own()

    def own(self):
        os.getpid()

    @workflow.signal
    def told(self):
        self.at = moment.now()

@workflow.defn(sandboxed=False)
class Unguarded:
    @workflow.run
    async def run(self):
        time.time()

class NoWorkflow:
    def run(self):
        time.time()
"""
    )

    assert [(one.what, one.where) for one in check_file(file)] == [
        ("time.time()", "Flow.run -> stamp -> deeper"),
        ("uuid.uuid4()", "Flow.run -> Helper.__init__"),
        ("random.random()", "Based.from_base"),
        ("os.getpid()", "Flow.run -> own"),
        ("datetime.datetime.now()", "Flow.told"),
    ]


def test_objects_made_in_sight_are_followed(tmp_path: Path) -> None:
    before = """
class Tool:
    def use(self):
        return random.random()

    def not_used(self):
        return time.time()

class Other:
    def use(self):
        return time.monotonic()
"""
    body = "tool = Tool()\ntool.use()\nself.kept = Other()\nself.kept.use()\nunknown.use()"

    assert checked(tmp_path, body, before=before) == [
        "random.random(): use workflow.random()",
        "time.monotonic(): use workflow.now(), or workflow.time()",
    ]


def test_the_command_prints_each_with_its_place_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checked(tmp_path, "time.time()")
    (tmp_path / "broken.py").write_text("def (")

    assert run(["check", str(tmp_path)]) == 1

    broken, flow = capsys.readouterr().out.splitlines()
    assert broken.startswith(f"{tmp_path}/broken.py:1:1: the file: cannot be read:")
    assert flow == (
        f"{tmp_path}/flow.py:14:9: time.time(): it asks the machine's clock, or holds its thread;"
        " use workflow.now(), or workflow.time() (in Flow.run)"
    )
    assert run(["check", str(tmp_path / "flow.py"), "--output", "json"]) == 1
    (read,) = json.loads(capsys.readouterr().out)
    assert (read["line"], read["what"]) == (14, "time.time()")


def test_a_path_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "no/such/file.py"]) == 1
    assert "there is no such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "folder", ["examples", "benchmarks", "tests/histories", "tests/simulation"]
)
def test_our_own_workflows_raise_no_alarm(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(ROOT / folder)]) == 0
    assert capsys.readouterr().out == ""
