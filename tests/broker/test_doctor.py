"""perdure doctor on a real broker: what is missing, and what one machine means."""

from __future__ import annotations

import json
import uuid

import pytest

from perdure.cli import run

pytestmark = pytest.mark.broker


def test_a_queue_without_topics_and_then_with(
    kafka_bootstrap: str, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = f"t-{uuid.uuid4().hex[:12]}"
    where = ["--broker", kafka_bootstrap, "--namespace", namespace, "--task-queue", "orders"]
    assert run(["doctor", *where, "--output", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    missing = [f for f in found if f["check"] == "topics"]
    assert len(missing) == 6
    assert all("perdure topics create" in finding["remedy"] for finding in missing)

    assert run(["topics", "create", *where, "--partitions", "2"]) == 0
    capsys.readouterr()
    # Nobody hosts it: that is the one problem left.
    assert run(["doctor", *where, "--output", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {f["check"] for f in found if f["level"] == "problem"} == {"hosts"}
    assert {f["check"] for f in found if f["level"] == "ok"} >= {
        *("broker", "topics", "rights", "clock", "schemas"),
    }
    [replication] = [f for f in found if f["check"] == "replication"]
    assert replication["level"] == "warning"
