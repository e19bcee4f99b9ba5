"""The commands of the README on a real broker, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.broker.conftest import SharedKafka

pytestmark = [pytest.mark.broker, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[2]
PERDURE = [sys.executable, "-m", "perdure.cli"]
ORDER = {
    "order_id": "order-1",
    "user_id": "u",
    "product_id": "lamp",
    "quantity": 1,
    "amount_cents": 100,
    "bank": "bank",
    "email": "u@example.org",
}


class Shop:
    """A task queue of its own on the shared broker."""

    def __init__(self, broker: str, folder: Path) -> None:
        self.queue = f"orders-{uuid.uuid4().hex[:8]}"
        self.environment = {
            **os.environ,
            "PERDURE_BROKER": broker,
            "PERDURE_STATE_DIR": str(folder / "state"),
            "PERDURE_OUTPUT": "json",
            "ORDERS_JOURNAL": str(folder / "journal.jsonl"),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PERDURE, *arguments],
            cwd=ROOT,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=90,
        )

    def start_worker(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*PERDURE, "worker", "examples.orders.app", "--task-queue", self.queue],
            cwd=ROOT,
            env=self.environment,
        )


@pytest.fixture
def shop(kafka: SharedKafka, tmp_path: Path) -> Shop:
    return Shop(kafka.bootstrap, tmp_path)


def test_an_order_runs_by_commands_alone(shop: Shop) -> None:
    order = json.dumps(ORDER)
    started = ["workflow", "start", "OrderWorkflow", "--id", "order-1", "-q", shop.queue]

    before = shop.run(*started, "--input", order)
    made = shop.run("topics", "create", "--task-queue", shop.queue, "--partitions", "4")
    worker = shop.start_worker()
    try:
        start = shop.run(*started, "--input", order)
        result = shop.run("workflow", "result", "--id", "order-1")
        history = shop.run("workflow", "history", "--id", "order-1", "-q", shop.queue)
        listed = shop.run("workflow", "list", "-q", shop.queue)
        again = shop.run(*started, "--input", order, "--id-reuse-policy", "reject_duplicate")
    finally:
        worker.send_signal(signal.SIGTERM)
        status = worker.wait(30)

    assert before.returncode == 1
    assert f"perdure topics create --broker {shop.environment['PERDURE_BROKER']}" in before.stderr
    assert (made.returncode, start.returncode) == (0, 0), made.stderr + start.stderr
    assert json.loads(result.stdout)["result"] == "shipped"
    kinds = [event["perdure"]["type"] for event in json.loads(history.stdout)["events"]]
    assert kinds[0] == "WorkflowStarted"
    assert kinds[-1] == "WorkflowCompleted"
    assert kinds.count("ActivityCompleted") == 3
    assert [run["workflow_id"] for run in json.loads(listed.stdout)] == ["order-1"]
    assert again.returncode == 1
    assert "already started" in again.stderr
    assert status == 0
