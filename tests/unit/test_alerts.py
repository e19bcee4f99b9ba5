"""The shipped alerts fire in the incidents they are for, and end with them: promtool says so."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "perdure-alerts.yml"
PROMTOOL = os.environ.get("PERDURE_TEST_PROMTOOL") or shutil.which("promtool")


@pytest.mark.skipif(
    PROMTOOL is None,
    reason="no promtool on the path: apt-get install prometheus, or PERDURE_TEST_PROMTOOL",
)
def test_the_alerts_fire_when_it_matters_and_end_with_it(tmp_path: Path) -> None:
    assert PROMTOOL is not None
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).parent / "alert_rules.yml", tmp_path)

    for what in (["check", "rules", ALERTS.name], ["test", "rules", "alert_rules.yml"]):
        told = subprocess.run(
            [PROMTOOL, *what], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr
