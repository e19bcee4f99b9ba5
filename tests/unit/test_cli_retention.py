"""`perdure retention`, and how long closed runs are kept, with a real worker behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import workflow
from perdure.client import Client, RPCError, RPCStatusCode, TaskQueueRetention
from perdure.worker import Worker
from perdure_actors.retention import retention
from perdure_schemas import operator_commands as op
from perdure_schemas.commands import ReadRetention
from perdure_schemas.payloads import Record
from perdure_schemas.replies import Accepted, RetentionInfo
from tests.unit.test_cli import Engine, engine, wide

__all__ = ["engine", "wide"]
HOUR_MS = 3_600_000
INFO = RetentionInfo(
    partition=0,
    keep_ms=30 * 24 * HOUR_MS,
    by_status={"failed": -1},
    is_default=True,
    closed_runs=7,
    due_runs=3,
    oldest_ms=1,
    table_bytes=1_500_000,
)


def answer(command: Record) -> Record:
    if isinstance(command, ReadRetention):
        return msgspec.structs.replace(INFO, partition=command.partition)
    return Accepted()


def sent(commands: list[Record]) -> list[Any]:
    kinds = (op.SetRetention, op.RunRetention)
    return [one for one in commands if isinstance(one, kinds)]


@pytest.mark.usefixtures("wide")
def test_show_says_what_is_kept_and_what_is_due(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.script(answer)

    assert engine.run("retention", "show", "-q", "orders") == 0

    line = capsys.readouterr().out.splitlines()[1]
    for part in ("30d (default)", "failed=for ever", "7", "3", "1.5 MB"):
        assert part in line


@pytest.mark.parametrize(
    ("keep", "keep_ms", "said"),
    [
        ("7d", 7 * 24 * HOUR_MS, "closed runs of task queue 'orders' are kept for 7d"),
        ("0", 0, "closed runs of task queue 'orders' are kept for 0"),
        ("for-ever", -1, "CLOSED RUNS OF TASK QUEUE 'orders' ARE KEPT FOR EVER"),
    ],
)
def test_set_goes_to_every_partition(
    engine: Engine, capsys: pytest.CaptureFixture[str], keep: str, keep_ms: int, said: str
) -> None:
    host = engine.script(answer)

    asked: tuple[str, ...] = (
        "--keep",
        keep,
        "--status",
        "failed=90d",
        "--status",
        "terminated=12h",
    )
    asked += ("--cut-events",) if keep_ms else ()
    assert engine.run("retention", "set", "-q", "orders", *asked) == 0

    assert said in capsys.readouterr().out
    found = sent(host.commands)
    assert sorted(one.partition for one in found) == list(range(len(found)))
    assert {one.keep_ms for one in found} == {keep_ms}
    assert {one.cut for one in found} == {"yes" if keep_ms else ""}
    assert found[0].by_status == {"failed": 90 * 24 * HOUR_MS, "terminated": 12 * HOUR_MS}


@pytest.mark.parametrize("wrong", ["7", "d", "-1d", "7 days", "1w", "٣d"])
def test_a_length_of_time_that_is_none_is_refused(engine: Engine, wrong: str) -> None:
    host = engine.script(answer)

    assert engine.run("retention", "set", "-q", "orders", "--keep", wrong) != 0

    assert sent(host.commands) == []


def test_a_dry_run_only_counts(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    host = engine.script(answer)

    assert engine.run("retention", "run", "-q", "orders", "--dry-run") == 0
    assert "would be forgotten" in capsys.readouterr().out
    assert sent(host.commands) == []

    assert engine.run("retention", "run", "-q", "orders") == 0
    assert "are being forgotten" in capsys.readouterr().out
    assert {type(one) for one in sent(host.commands)} == {op.RunRetention}


@workflow.defn
class Quick:
    @workflow.run
    async def run(self) -> str:
        return "done"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    client = await Client.connect(f"file:{tmp_path / 'data'}")
    async with asyncio.timeout(60):
        yield client
    await client.close()


@pytest.mark.embedded
async def test_a_queue_forgets_and_a_table_made_anew_has_forgotten_too(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SETTLED_MS", 0)
    kept = TaskQueueRetention(client, "q")
    async with Worker(
        client, task_queue="q", workflows=[Quick], state_directory=tmp_path / "tables"
    ):
        for number in range(5):
            await client.execute_workflow(Quick.run, id=f"w-{number}", task_queue="q")
        assert sum(info.closed_runs for info in await kept.show()) == 5
        with pytest.raises(RPCError, match="no closed run is 'running'") as caught:
            await kept.set(timedelta(days=1), by_status={"running": None})
        assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT

        await kept.set(timedelta(0))
        while (await client.count_workflows()).count:
            await kept.run()

        with pytest.raises(RPCError, match="no workflow 'w-1'"):
            await client.get_workflow_handle("w-1", task_queue="q").describe()
    async with Worker(
        client, task_queue="q", workflows=[Quick], state_directory=tmp_path / "made anew"
    ):
        assert (await client.count_workflows()).count == 0
        assert {info.keep_ms for info in await kept.show()} == {0}
        result = await client.execute_workflow(Quick.run, id="w-1", task_queue="q")
        assert result == "done"
