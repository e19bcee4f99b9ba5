"""`perdure dev MODULE`: engine, worker, traffic and pages in one process, as the README says."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.client import Client
from tests.log_rig import wait_for

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(90)]
ROOT = Path(__file__).parents[2]
WATCH = re.compile(r"watch it at (http://\S+);")


class Dev:
    """The command in a process, and what it says."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said"
        words = [sys.executable, "-m", "perdure.cli", "dev", "examples.orders.app"]
        words += ["--data", str(folder / "data"), "--port", "0"]
        environment = {**os.environ, "ORDERS_JOURNAL": str(folder / "orders.jsonl")}
        with self._said.open("w") as sink:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=environment, stdout=sink, stderr=sink
            )

    def said(self) -> str:
        return self._said.read_text()

    def url(self) -> str:
        found = wait_for(lambda: WATCH.search(self.said()), timeout_s=30)
        assert found, self.said()
        return found[1]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    made = Dev(tmp_path)
    yield made
    made.process.kill()
    made.process.wait(10)


def runs(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v1/workflows", timeout=20) as answer:
        found: list[dict[str, Any]] = json.load(answer)["runs"]
        return found


def page(url: str) -> bytes:
    with urllib.request.urlopen(f"{url}/", timeout=20) as answer:
        found: bytes = answer.read()
        return found


async def test_orders_flow_and_can_be_watched(dev: Dev) -> None:
    url = dev.url()

    def completed() -> list[dict[str, Any]]:
        return [run for run in runs(url) if run["status"] == "completed"]

    assert wait_for(completed, timeout_s=30), dev.said()
    assert b"<title>Perdure</title>" in page(url)
    # Pages and the transport of clients and workers share one port.
    client = await Client.connect(url.replace("localhost", "127.0.0.1"))
    described = await client.get_workflow_handle(completed()[0]["workflow_id"]).describe()
    await client.close()
    dev.process.send_signal(signal.SIGTERM)

    assert described.workflow_type == "OrderWorkflow"
    assert dev.process.wait(20) == 0, dev.said()
