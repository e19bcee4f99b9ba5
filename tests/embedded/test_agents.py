"""An agent of pydantic-ai, unmodified, killed at random moments: each result is used once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from examples.agents.app import JOURNAL_VARIABLE, PLAN
from tests.broker.processes import ROOT

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240)]
CALLS = 2 * len(PLAN) + 1
"""Of the model and of its tools, where nothing is killed."""
KILLS = 3


@pytest.mark.seeds(0, fresh=1)
def test_a_killed_agent_uses_each_result_once(seed: int, tmp_path: Path) -> None:
    rng = Random(seed)
    journal = tmp_path / "journal"
    words = [sys.executable, "-m", "examples.agents.app", "Where is it?"]
    words += ["--data", str(tmp_path / "data")]
    environment = {**os.environ, JOURNAL_VARIABLE: str(journal)}

    def calls() -> list[list[str]]:
        return (
            [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []
        )

    def started() -> subprocess.Popen[str]:
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    for _ in range(KILLS):
        before = len(calls())
        least = before + rng.randrange(1, 3)
        with started() as process:
            try:
                while len(calls()) < least and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.3))
            finally:
                process.kill()
    with started() as process:
        answer, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    made = Counter(what for what, _ in calls())
    assert set(made) == {*PLAN, *(f"model-{n}" for n in range(len(PLAN) + 1))}
    # A call that was under way at a kill is made again; one whose result is in the log never.
    assert sum(made.values()) - CALLS <= KILLS
    numbers = {number for _, number in calls()}
    used = [word.rpartition("-") for word in answer.split()]
    assert [head.rpartition(":")[2] for head, _, _ in used] == [*PLAN, "model"]
    assert {number for _, _, number in used} <= numbers
