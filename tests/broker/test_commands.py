"""The commands of the front page, against a broker, as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure_topics.names import partition_of
from tests.broker.kafka_broker import free_port
from tests.broker.processes import ROOT, Crew

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]

ORDER = {
    "order_id": "order-1",
    "user_id": "user-1",
    "product_id": "lamp",
    "quantity": 2,
    "amount_cents": 1999,
    "bank": "bank",
    "email": "user-1@example.org",
}


class Shell:
    """Types commands at one broker and namespace."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._where = crew.where

    def __call__(self, *arguments: str) -> str:
        """A command that goes well; what it printed."""
        done = self._crew.run(*arguments, *self._where)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """The same, for programs."""
        return json.loads(self(*arguments, "--output", "json"))

    def fails(self, *arguments: str) -> str:
        """A command that fails, in one line; the line."""
        done = self._crew.run(*arguments, *self._where)
        assert done.returncode in (1, 2), (done.returncode, done.stdout)
        assert "Traceback" not in done.stderr
        return done.stderr


def until(holds: Callable[[], bool], what: str, *, timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, f"after {timeout_s} s still not: {what}"
        time.sleep(0.1)


def test_the_commands_by_hand(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_JOURNAL", str(tmp_path / "orders.jsonl"))
    crew = Crew(kafka_bootstrap, tmp_path)
    sh = Shell(crew)
    try:
        topics = sh.json("topics", "create", "--task-queue", "orders", "--partitions", "16")
        assert {t["name"].rpartition(".")[2]: t["partitions"] for t in topics} == {
            "commands": 16,
            "events": 16,
            "tasks": 16,
            "dead": 1,
            "replies": 16,
            "findings": 1,
        }
        assert all(topic["made"] for topic in topics)
        assert "orders.events" in sh("topics", "describe", "--task-queue", "orders")
        app, queue = "examples.orders.app", ["--task-queue", "orders"]
        for name in ("one", "two"):
            state = ["--state-dir", str(tmp_path / name)]
            crew.process(name, "worker", app, *crew.where, *queue, *state)

        started = sh.json(
            "workflow",
            "start",
            "OrderWorkflow",
            "--id",
            "order-1",
            *queue,
            "--input",
            json.dumps(ORDER),
        )
        assert started["workflow_id"] == "order-1"
        assert "shipped" in sh("workflow", "result", "--id", "order-1")
        answer = sh.json("workflow", "result", "--id", "order-1")
        assert answer == {"workflow_id": "order-1", "result": "shipped"}

        described = sh.json("workflow", "describe", "--id", "order-1")
        assert described["summary"]["status"] == "completed"
        assert described["summary"]["run_id"] == started["run_id"]
        assert described["summary"]["partition"] == partition_of("order-1", 16)
        assert "completed" in sh("workflow", "describe", "--id", "order-1")
        assert "charge_payment" in sh("workflow", "history", "--id", "order-1")
        assert "deduct_inventory" in json.dumps(sh.json("workflow", "history", "--id", "order-1"))
        (listed,) = sh.json("workflow", "list", *queue)
        assert "order-1" in json.dumps(listed)
        assert "order-1" in sh("workflow", "list")
        assert sh.json("workflow", "count") == {"count": 1, "groups": []}
        assert len(sh.json("task-queue", "describe", *queue)) == 16

        _end_open_orders(sh, queue)
        _wrong_commands(sh, queue)
        assert [process.stop() for process in crew.processes] == [0, 0]
    finally:
        crew.end()


def _end_open_orders(sh: Shell, queue: list[str]) -> None:
    """Cancel one order and terminate another while their refunds are tried again."""
    stuck = json.dumps({**ORDER, "product_id": "sold-out", "bank": "closed-bank"})
    for workflow_id in ("order-2", "order-3"):
        sh("workflow", "start", "OrderWorkflow", "--id", workflow_id, *queue, "--input", stuck)

    def refunds(workflow_id: str) -> bool:
        found = sh.json("workflow", "describe", "--id", workflow_id)
        return any(a["activity_type"] == "refund_payment" for a in found["pending_activities"])

    until(lambda: refunds("order-2") and refunds("order-3"), "both refunds are tried")
    assert "terminated" in sh("workflow", "terminate", "--id", "order-3", "--reason", "by hand")
    assert sh.json("workflow", "cancel", "--id", "order-2")["workflow_id"] == "order-2"
    failed = sh.fails("workflow", "result", "--id", "order-3")
    assert "TerminatedError" in failed
    assert "by hand" in failed
    assert "cancel" in sh.fails("workflow", "result", "--id", "order-2").lower()


def _wrong_commands(sh: Shell, queue: list[str]) -> None:
    """What is wrong is one line that says what to do."""
    again = sh.fails("workflow", "start", "OrderWorkflow", "--id", "x y\n", *queue)
    assert "workflow id" in again
    assert "no JSON" in sh.fails(
        "workflow", "start", "OrderWorkflow", "--id", "order-9", *queue, "--input", "{"
    )
    assert "order-404" in sh.fails("workflow", "result", "--id", "order-404")
    assert "topics create" in sh.fails("workflow", "list", "--task-queue", "nobodys")


def test_a_broker_that_is_not_there_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "perdure.cli", "workflow", "list", "--broker", address]

    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60, env=os.environ
    )

    assert done.returncode == 1
    assert address in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
