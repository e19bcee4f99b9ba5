"""What everyone may read: schemas by the command, and the events as Parquet or JSON lines."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from perdure import _assembly as assembly
from perdure.cli import run
from perdure.client import Client
from perdure.contrib.encryption import EncryptionCodec, generate_key
from perdure.converter import DataConverter
from perdure.worker import Worker
from perdure_schemas.avro import MAGIC, encode, framed_records, schema_text
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.transition import Transition, TransitionBody
from perdure_topics.fold import Cursor, fold_record
from perdure_topics.names import topic_name
from perdure_topics.spans import read_span
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


def append_unreadable(folder: Path) -> int:
    """An event of a newer release in a run of its own, then a record of one; which partition."""
    log, close = assembly.open_log(f"file:{folder}")
    name, bell = topic_name("events", "default", QUEUE), threading.Event()
    info = log.topic(name)
    assert info is not None
    tail, cursors = log.tail(on_ready=bell.set, committed=False), dict[int, Cursor]()
    for partition in range(info.partitions):
        cursor, span = Cursor(), log.offsets(name, partition)
        for records in read_span(tail, bell, (name, partition), span):
            for record in records:
                cursor, _ = fold_record(cursor, record)
        cursors[partition] = cursor
    partition, cursor = max(cursors.items(), key=lambda one: one[1].pseq)
    started = WorkflowStarted(workflow_type="Chain")
    newer = MAGIC + bytes(8) + b"what a newer release writes"
    body = TransitionBody(
        workflow_id="newer", run_id="newer-1", seq=1, events=[encode(started), newer]
    )
    transition = Transition(
        epoch=cursor.epoch,
        nonce=cursor.nonce,
        pseq=cursor.pseq + 1,
        after=cursor.upto,
        upto=cursor.upto,
        dispatched=cursor.dispatched,
        time_ms=cursor.time_ms,
        body=encode(body),
    )
    appender = log.appender(on_ready=bell.set)
    appender.append(name, partition, encode(transition), key=b"newer")
    appender.append(name, partition, newer, key=b"newer")
    appender.close(flush_s=5.0)
    close()
    return partition


@pytest.mark.embedded
def test_what_cannot_be_read_is_named_and_the_rest_is_exported_and_replayed(
    filled: tuple[Path, dict[str, int]], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder, lengths = filled
    partition = append_unreadable(folder / "data")
    where = ["--engine", f"file:{folder}/data", "-q", QUEUE]

    assert run(["export", "-", *where]) == 1

    out, err = capfdbinary.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert Counter(row["workflow_id"] for row in rows) == {**lengths, "newer": 1}
    said = " ".join(err.decode().split())
    assert f"event 2 of workflow 'newer', run newer-1, partition {partition}, offset" in said
    assert f"all that follows it in its partition, partition {partition}, offset" in said
    assert said.count("unknown schema fingerprint 0000000000000000") == 2

    assert run(["replay", "tests.broker.orders_app", *where, "--output", "json"]) == 1

    told = json.loads(capfdbinary.readouterr().out)
    assert told["replayed"] == len(lengths) + 1
    assert [(one["run_id"], one["kind"]) for one in told["failures"]] == [("newer-1", "unreadable")]


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
