"""`perdure schedule` against an engine in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.broker.processes import QUEUE, until
from tests.embedded.test_processes import EngineCrew

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(300)]


async def test_a_schedule_from_its_making_to_its_end(tmp_path: Path) -> None:
    crew = EngineCrew(tmp_path)
    try:
        crew.engine()
        client = await crew.connected()
        await client.close()
        _walk(crew)
        await until(lambda: _described(crew)["actions"] == 3, "three actions were taken")
        found = _described(crew)
        assert found["paused"]
        assert found["note"] == "enough"
        assert found["zone"] == "Europe/Berlin"
        assert [one["workflow"][:6] for one in found["recent"]] == ["order-"] * 3
        listed = json.loads(_run(crew, "list", "--output", "json"))
        assert [one["id"] for one in listed] == ["nightly"]
        assert "nightly" in _run(crew, "list")
        assert "order-" in _run(crew, "describe", "nightly")
        _run(crew, "delete", "nightly")
        assert json.loads(_run(crew, "list", "--output", "json")) == []
        gone = crew.run("schedule", "describe", "nightly", *crew.where)
        assert gone.returncode != 0
        assert "no schedule 'nightly'" in gone.stderr
    finally:
        crew.end()


def _walk(crew: EngineCrew) -> None:
    of_order = ["--type", "OrderWorkflow", "--id", "order", "--input", '{"id": "1", "total": 2}']
    times = ["--cron", "0 3 * * *", "--zone", "Europe/Berlin"]
    _run(crew, "create", "nightly", "--task-queue", QUEUE, *of_order, *times)
    _run(crew, "pause", "nightly", "--note", "enough")
    _run(crew, "trigger", "nightly")
    span = ["--from", "2026-01-01T12:00", "--to", "2026-01-03T12:00", "--overlap", "allow_all"]
    _run(crew, "backfill", "nightly", *span)
    _run(crew, "unpause", "nightly")
    _run(crew, "pause", "nightly", "--note", "enough")
    twice = crew.run("schedule", "create", "nightly", *crew.where, "-q", QUEUE, *of_order, *times)
    assert twice.returncode != 0
    assert "already" in twice.stderr
    bad = crew.run("schedule", "trigger", "nightly", "--overlap", "never", *crew.where)
    assert "'never' is no overlap policy" in bad.stderr.replace("\n", " ")


def _run(crew: EngineCrew, command: str, *arguments: str) -> str:
    done = crew.run("schedule", command, *arguments, *crew.where)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _described(crew: EngineCrew) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(crew, "describe", "nightly", "--output", "json"))
    return found
