"""Temporal's name for Perdure: modules, libraries on them, programs, and what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perdure._alias import alias_command as environment_files
from perdure._connect_config import meant_address
from tests.pages import absent_names

pytestmark = pytest.mark.timeout(120)

PROGRAM = """
import asyncio
import sys
from datetime import timedelta

import temporalio.api.common.v1
import temporalio.client
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Greets:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            greet, name, start_to_close_timeout=timedelta(seconds=30)
        )


async def main() -> None:
    client = await Client.connect("localhost:7233")
    async with Worker(
        client,
        task_queue="q",
        workflows=[Greets],
        activities=[greet],
        workflow_runner=SandboxedWorkflowRunner(),
    ):
        print(await client.execute_workflow(Greets.run, sys.argv[1], id="w", task_queue="q"))
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
"""


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python process of its own: an alias cannot be taken back in this one."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def said(code: str, cwd: Path, **environment: str) -> str:
    """What a program says to its output, or the last line of its error."""
    done = run("-c", code, cwd=cwd, **environment)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A folder with what an installed temporalio has, and a library in it."""
    package = tmp_path / "packages" / "temporalio"
    for name, text in {
        "__init__.py": "REAL = True\n",
        "client/__init__.py": "raise RuntimeError('the real one was loaded')\n",
        "agents/__init__.py": "from temporalio.agents._runner import runs\n",
        "agents/_runner.py": "import temporalio.client as c\nruns = c.Client.__module__\n",
        "contrib/__init__.py": "raise RuntimeError('the real one was loaded')\n",
        "contrib/queues.py": "from temporalio.workflow import defn\n",
        "contrib/aws/__init__.py": "",
        "nexus/__init__.py": "",
    }.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package.parent


def test_an_unchanged_program_runs(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(PROGRAM)
    for arguments in (["worker.py"], ["-m", "worker"]):
        done = run(
            "-m",
            "perdure.as_temporalio",
            *arguments,
            "you",
            cwd=tmp_path,
            PERDURE_ADDRESSES="localhost:7233=file:./data",
        )
        assert (done.stdout, done.returncode) == ("hello you\n", 0), done.stderr


def test_an_address_of_temporals_must_stand_for_something(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(PROGRAM)
    done = run("-m", "perdure.as_temporalio", "worker.py", "you", cwd=tmp_path)
    assert "say what it stands for, as in PERDURE_ADDRESSES=localhost:7233=" in done.stderr


def test_addresses_stand_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_ADDRESSES", "a:1=kafka:9092, *=http://engine:8080")
    assert [meant_address(name) for name in ("a:1", "prod:7233", "b:1")] == [
        "kafka:9092",
        "http://engine:8080",
        "b:1",
    ]
    monkeypatch.setenv("PERDURE_ADDRESSES", "a:1")
    with pytest.raises(ValueError, match="write name=address"):
        meant_address("a:1")


def test_modules_are_ours_and_keep_their_own_names(tmp_path: Path) -> None:
    code = """
import perdure.as_temporalio
import importlib, perdure.client, perdure.workflow
import temporalio.client, temporalio.contrib.pydantic
from temporalio import workflow
assert temporalio.client is perdure.client and workflow is perdure.workflow
assert perdure.client.__spec__.name == "perdure.client" == perdure.client.__name__
importlib.reload(perdure.workflow)
import perdure.as_temporalio as again
importlib.reload(again)
print("fine")
"""
    assert said(code, tmp_path) == "fine"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("from temporalio.client import NexusClient", "there is no Nexus (see docs/temporal.md)"),
        ("from temporalio.client import Nowhere", "SDK 1.35 has no such public name"),
        ("import temporalio.nexus", "temporalio.nexus is not in Perdure: there is no Nexus"),
        ("import temporalio.contrib.aws", "no library of ours"),
        ("import temporalio.nothing", "SDK 1.35 has no such module"),
        ("import temporalio.workflow._definition", "a private module of Temporal's SDK"),
        ("import temporalio.client; print(hasattr(temporalio.client, 'NexusClient'))", "False"),
        ("import temporalio.client; temporalio.client.NexusClient", "AttributeError: module"),
        ("import temporalio.agents; print(temporalio.agents.runs)", "perdure.client._client"),
        ("import temporalio.contrib.queues as q; print(q.defn.__module__)", "perdure.workflow"),
    ],
)  # fmt: skip
def test_what_is_not_there_says_why_beside_the_real_package_too(
    statement: str, message: str, fake: Path, tmp_path: Path
) -> None:
    code = f"import perdure.as_temporalio\n{statement}"
    assert message in said(code, tmp_path, PYTHONPATH=str(fake))


def test_the_real_package_imported_first_is_refused(fake: Path, tmp_path: Path) -> None:
    code = "import temporalio\nimport perdure.as_temporalio"
    message = said(code, tmp_path, PYTHONPATH=str(fake))
    assert f"temporalio was imported from {fake}" in message
    assert "the first line of the program" in message


def test_wrong_use_of_the_program_says_how(tmp_path: Path) -> None:
    for arguments in ([], ["nowhere.py"]):
        done = run("-m", "perdure.as_temporalio", *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert "usage: python -m perdure.as_temporalio" in done.stderr


def test_the_alias_is_written_into_an_environment_and_taken_away(tmp_path: Path) -> None:
    assert not environment_files.is_installed(tmp_path)
    environment_files.install_alias(tmp_path)
    written = environment_files.install_alias(tmp_path)

    assert environment_files.is_installed(tmp_path)
    site = f"import site; site.addsitedir({str(tmp_path)!r})\n"
    assert said(f"{site}import temporalio.client as c; print(c.__name__)", tmp_path) == (
        "perdure.client"
    )
    (tmp_path / "typed.py").write_text(
        "from temporalio.client import Client\nfrom temporalio import workflow\n"
        "import temporalio.worker.workflow_sandbox\n"
        "async def f(client: Client) -> None:\n    reveal_type(client.identity)\n"
        "    reveal_type(workflow.now())\n    client.nothing\n"
    )
    # Stubs count as such among installed packages only; here they are a package.
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "temporalio").symlink_to(tmp_path / "temporalio-stubs")
    checked = run(
        "-m",
        "mypy",
        "--no-incremental",
        "--cache-dir=/dev/null",
        "typed.py",
        cwd=tmp_path,
        MYPYPATH=str(tmp_path / "path"),
    )
    assert 'Revealed type is "str"' in checked.stdout, checked.stdout + checked.stderr
    assert 'Revealed type is "datetime.datetime"' in checked.stdout
    assert '"Client" has no attribute "nothing"' in checked.stdout
    assert "Found 1 error" in checked.stdout
    assert environment_files.uninstall_alias(tmp_path) == written
    assert environment_files.uninstall_alias(tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["path", "typed.py"]


def test_the_kept_reasons_are_those_of_the_page() -> None:
    kept = Path(environment_files.__file__).with_name("absent.json").read_text("utf-8")
    assert kept == absent_names(), "run make pages"
    assert json.loads(kept)["client"]["NexusClient"] == "there is no Nexus"
