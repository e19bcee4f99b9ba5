"""What the README shows runs as it stands there, and the command it names is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.house.reading import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.embedded
@pytest.mark.timeout(90)
def test_the_quickstart_prints_its_greeting_and_again_after_a_restart(tmp_path: Path) -> None:
    (program,) = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    script = tmp_path / "quickstart.py"
    script.write_text(program, "utf-8")
    again = tmp_path / "again.py"
    again.write_text(program.replace("greeting-1", "greeting-2"), "utf-8")

    for path in (script, again):
        done = subprocess.run(
            [sys.executable, path.name],
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "Hello, world!\n"

    assert (tmp_path / "data").is_dir()


def test_the_command_is_installed_and_explains_itself() -> None:
    (command,) = entry_points(group="console_scripts", name="perdure")

    assert command.value == "perdure.cli:main"
    done = subprocess.run(
        [Path(sys.executable).with_name("perdure"), "--help"],
        check=False,
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    for word in ("engine", "topics", "worker", "workflow"):
        assert word in done.stdout
