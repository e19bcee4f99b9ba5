"""The page on testing holds one file of tests, and they pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.mark.embedded
def test_the_page_is_a_file_of_tests_that_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "test_orders.py").write_text("\n\n".join(blocks))
    options = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-W", "ignore"]
    command = [sys.executable, "-m", "pytest", *options, "test_orders.py"]

    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{sum(block.count('def test_') for block in blocks)} passed" in ended.stdout
