"""What a process loads before it does anything: a client no host, `--version` hardly anything.

No times: a module that is not loaded costs nothing on any machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer.main

from perdure.cli import app
from perdure.cli.commands import COMMANDS

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]

LOADED = """
import json, runpy, sys
{}
print(json.dumps(sorted(sys.modules)))
"""

# The packages that importing a client may load: ours whole or by their sub-packages, and others'.
CLIENT_MAY_LOAD = frozenset(
    {
        "cronsim",
        "msgspec",
        "perdure",
        "perdure._assembly",
        "perdure._connect_config",
        "perdure._records",
        "perdure._batches",
        "perdure._schedules",
        "perdure._search_attribute_payloads",
        "perdure._search_attributes",
        "perdure._telemetry",
        "perdure._test_overrides",
        "perdure.api",
        "perdure.client",
        "perdure.common",
        "perdure.converter",
        "perdure.envconfig",
        "perdure.exceptions",
        "perdure.types",
        "perdure_actors",
        "perdure_actors.core",
        "perdure_actors.definitions",
        "perdure_actors.replay",
        "perdure_actors.worker",
        "perdure_schemas",
        "perdure_topics",
        "perdure_topics.clock",
        "perdure_topics.engine_keys",
        "perdure_topics.names",
        "perdure_topics.ports",
        "perdure_topics.private",
        "perdure_topics.requirements",
        "perdure_topics.tables",
        "perdure_topics.task_queue_topics",
        "typing_extensions",
    }
)
# Of packages that are listed whole above, what a client has no use for.
CLIENT_NEEDS_NOT = (
    "multiprocessing",
    "perdure_actors.definitions.turn",
    "perdure_actors.replay.coroutine",
    "perdure_actors.replay.loop_context",
    "perdure_actors.worker.activity_worker",
    "perdure_actors.worker.processes",
    "perdure_topics.tables.rocksdb_tables",
)
VERSION_MAY_LOAD = frozenset(
    {
        "annotated_doc",
        "perdure",
        "perdure.cli",
        "perdure_schemas",
        "perdure_schemas.version",
        "perdure_topics",
        "perdure_topics.kafka",
        "shellingham",
        "typer",
    }
)


def loaded_by(code: str) -> list[str]:
    """The modules that are there once some code has run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def strangers(modules: Sequence[str], allowed: frozenset[str]) -> set[str]:
    """The packages that are loaded and not allowed; the standard library's do not count."""
    found = set()
    for module in modules:
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names or top.startswith(
            ("_", "sitecustomize", "usercustomize")
        ):
            continue
        package = ".".join(module.split(".")[:2]) if top.startswith("perdure") else top
        if package not in allowed and not (top in allowed and top == "perdure_schemas"):
            found.add(package)
    return found


def test_a_client_loads_no_more_than_it_needs() -> None:
    modules = loaded_by("import perdure.client")

    assert strangers(modules, CLIENT_MAY_LOAD) == set()
    assert [module for module in CLIENT_NEEDS_NOT if module in modules] == []


def test_the_version_loads_hardly_anything() -> None:
    code = """
sys.argv = ["perdure", "--version"]
try:
    runpy.run_module("perdure.cli", run_name="__main__")
except SystemExit:
    pass
"""
    modules = loaded_by(code)

    assert strangers(modules, VERSION_MAY_LOAD) == set()
    assert "asyncio" not in modules


def test_a_command_loads_no_other_commands_modules() -> None:
    code = """
from perdure.cli import commands
commands.run(["workflow", "list", "--help"])
"""
    modules = loaded_by(code)

    assert "perdure.cli.workflow_commands" in modules
    assert [
        name
        for name in modules
        if name in ("lark", "confluent_kafka", "rocksdict", "perdure.worker", "perdure.workflow")
        or name.startswith(("perdure.cli.worker", "perdure.cli.ui", "perdure_views"))
    ] == []


def test_planted_modules_are_found() -> None:
    planted = ["lark.lark", "perdure_actors.host.thread", "json", "perdure_schemas.avro"]

    assert strangers(planted, CLIENT_MAY_LOAD) == {"lark", "perdure_actors.host"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    tree = typer.main.get_command(app)
    command = tree.commands[name]  # type: ignore[attr-defined]  # it is a group

    assert COMMANDS[name].about == (command.help or "").partition("\n\n")[0].replace("\n", " ")


def test_hidden_commands_are_not_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from perdure.cli import run

    assert run(["workflow", "--help"]) == 0
    listed = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line[:2] == "│ "]
    assert "history" in listed
    assert "show" not in listed
    assert run(["workflow", "show", "--help"]) == 0
