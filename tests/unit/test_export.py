"""What everyone may read: schemas by the command, and the events as Parquet or JSON lines."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

from perdure.cli import run
from perdure.client import Client
from perdure.contrib.encryption import EncryptionCodec, generate_key
from perdure.converter import DataConverter
from perdure.worker import Worker
from perdure_schemas.avro import framed_records, schema_text
from tests.broker.orders_app import JOURNAL, Chain, Job, forge

RECIPE = Path(__file__).parents[2] / "docs/recipes/read-histories.md"
QUEUE = "orders"


async def fill(
    folder: Path, jobs: list[Job], converter: DataConverter = DataConverter.default
) -> dict[str, int]:
    """Run jobs on an embedded log; how many events each has by its history."""
    client = await Client.connect(f"file:{folder}", data_converter=converter)
    lengths = {}
    async with Worker(client, task_queue=QUEUE, workflows=[Chain], activities=[forge]):
        for job in jobs:
            handle = await client.start_workflow(Chain.run, job, id=job.name, task_queue=QUEUE)
            await handle.result()
            lengths[job.name] = len((await handle.fetch_history()).events)
    await client.close()
    return lengths


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, int]]:
    monkeypatch.setenv(JOURNAL, str(tmp_path / "journal"))
    jobs = [Job(f"job-{number}", steps=1 + number) for number in range(3)]
    return tmp_path, asyncio.run(fill(tmp_path / "data", [*jobs, Job("hard", failures=2)]))


def asked(query: str) -> list[Any]:
    """What DuckDB answers."""
    answer = duckdb.sql(query)
    assert answer is not None
    return answer.fetchall()


@pytest.mark.embedded
def test_parquet_holds_every_event_and_the_recipes_queries_run(
    filled: tuple[Path, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lengths = filled
    monkeypatch.chdir(folder)

    assert run(["export", "events.parquet", "--engine", f"file:{folder}/data"]) == 0

    found = asked("SELECT workflow_id, count(*) FROM 'events.parquet' GROUP BY ALL")
    assert dict(found) == lengths
    ((dense,),) = asked(
        "SELECT bool_and(n = last) FROM (SELECT count(*) AS n, max(seq) AS last"
        " FROM 'events.parquet' GROUP BY run_id)"
    )
    assert dense
    (queries,) = re.findall(r"```sql\n(.*?)```", RECIPE.read_text("utf-8"), re.DOTALL)
    by_type, by_activity, took = [asked(query) for query in queries.split(";") if query.strip()]
    assert dict(by_type)["WorkflowCompleted"] == 4
    assert by_activity == [("forge", 6, 0)]
    assert len(took) == 1


@pytest.mark.embedded
def test_lines_of_json_say_the_same(
    filled: tuple[Path, dict[str, int]], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder, lengths = filled

    assert run(["export", "-", "--engine", f"file:{folder}/data", "-q", QUEUE]) == 0

    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert len(rows) == sum(lengths.values())
    assert rows[0]["event_type"] == "WorkflowStarted"
    assert json.loads(rows[0]["event"])["workflow_type"] == "Chain"


@pytest.mark.embedded
def test_an_encrypted_log_is_exported_as_it_is_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(JOURNAL, str(tmp_path / "journal"))
    codec = EncryptionCodec({"k": generate_key()})
    asyncio.run(fill(tmp_path / "data", [Job("secret-job")], DataConverter(payload_codec=codec)))
    out = tmp_path / "events.jsonl"

    words = ["export", str(out), "--to", "jsonl", "--engine", f"file:{tmp_path}/data"]
    assert run(words) == 0

    said = " ".join(capsys.readouterr().err.split())
    assert "hold encrypted payloads" in said
    assert "PERDURE_DATA_CONVERTER=MODULE:NAME perdure workflow history" in said
    assert "steps" not in out.read_text("utf-8")


def test_a_missing_queue_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "x.parquet", "--engine", f"file:{tmp_path}/data", "-q", "none"]

    assert run(words) == 1
    assert "there is no topic default.none.events" in " ".join(capsys.readouterr().err.split())


def test_schemas_are_listed_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["schemas", "--output", "json"]) == 0
    listed = {row["record"] for row in json.loads(capsys.readouterr().out)}
    assert listed == {cls.__name__ for cls in framed_records()}
    assert run(["schemas", "StartWorkflow"]) == 0
    assert capsys.readouterr().out == schema_text("StartWorkflow")
    assert run(["schemas", "--out", str(tmp_path / "avsc")]) == 0
    assert {path.stem for path in (tmp_path / "avsc").iterdir()} == listed
    assert run(["schemas", "Nothing"]) == 2
