"""The blocks of the tutorial and the guides run as they stand, and print what stands there."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/guides").glob("*.md")))
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ", re.MULTILINE)
KILLED = 128 + 9


@pytest.mark.embedded
@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_stands(page: Path, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, title, body in BLOCK.findall(page.read_text("utf-8")):
        if language == "python":
            assert title, f"a block of {page.name} has no title, so nobody runs it"
            (tmp_path / title).write_text(body, "utf-8")
        elif language == "console":
            for text in COMMAND.split(body)[1:]:
                command, _, expected = text.partition("\n")
                done = subprocess.run(
                    ["bash", "-c", command],
                    cwd=tmp_path,
                    env={**os.environ, "PATH": path},
                    check=False,
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                if expected == "Killed\n":
                    assert done.returncode in {KILLED, -9}, done.stderr
                else:
                    assert done.returncode == 0, done.stderr
                    pattern = expected.replace("[", "[[]").replace("...", "*")
                    assert fnmatch.fnmatchcase(done.stdout, pattern), (done.stdout, expected)
