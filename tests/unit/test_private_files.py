"""What is kept on disk is its owner's alone, whatever umask the process was started with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import workflow
from perdure.client import Client
from perdure.worker import Worker
from perdure_topics import private
from perdure_topics.private import make_private
from perdure_topics.tables.rocksdb_tables import RocksTableStore
from perdure_topics.task_queue_topics import create_topics


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def open_to_others(root: Path) -> list[str]:
    """Files below a directory that another user of the machine can come to and read."""

    def is_open(path: Path) -> bool:
        inside = [path, *(one for one in path.parents if one.is_relative_to(root))]
        return all(one.stat().st_mode & 0o077 for one in inside)

    return [str(path) for path in root.rglob("*") if path.is_file() and is_open(path)]


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, n: int) -> int:
        return n


@pytest.mark.usefixtures("umask")
async def test_nobody_else_reads_what_an_embedded_engine_keeps(tmp_path):
    data = tmp_path / "data"
    client = await Client.connect(f"file:{data}")
    create_topics(client.log, "default", "q", partitions=1)
    async with Worker(client, task_queue="q", workflows=[Echo]):
        assert await client.execute_workflow(Echo.run, 1, id="w", task_queue="q") == 1
    await client.close()
    assert (data / "log" / "CURRENT").exists()
    assert (data / "tables" / "slot-0").is_dir()
    assert open_to_others(data) == []
    assert data.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("umask")
def test_nobody_else_reads_tables_and_their_copies(tmp_path):
    tables = RocksTableStore(tmp_path / "state")
    table = tables.open("t")
    table.write([(b"a", b"b")], [])
    table.checkpoint(str(tmp_path / "copies" / "t" / "1"))
    table.close()
    tables.close()
    assert open_to_others(tmp_path / "state") == []
    assert open_to_others(tmp_path / "copies") == []


def test_a_directory_that_was_open_is_closed_and_its_parents_are_left(tmp_path):
    inner = tmp_path / "given" / "log"
    inner.mkdir(parents=True)
    (tmp_path / "given").chmod(0o755)
    inner.chmod(0o777)
    make_private(inner)
    assert inner.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "given").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("mode", "is_container", "is_read"),
    [
        (0o600, False, True),
        (0o400, False, True),
        (0o440, False, False),
        (0o440, True, True),
        (0o640, True, True),
        (0o444, True, False),
        (0o460, True, False),
        (0o604, True, False),
    ],
)
def test_a_secret_is_read_where_nobody_else_can(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    is_container: bool,
    is_read: bool,
) -> None:
    monkeypatch.setattr(private, "_IN_CONTAINER", ())
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if is_container:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    file = tmp_path / "secret"
    file.write_text("open sesame")
    file.chmod(mode)

    if is_read:
        assert private.read_secret(file) == "open sesame"
        return
    with pytest.raises(ValueError, match="chmod 600") as refused:
        private.read_secret(file)
    assert "open sesame" not in str(refused.value)


def test_a_secret_of_a_group_that_is_not_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    file = tmp_path / "secret"
    file.write_text("open sesame")
    file.chmod(0o440)
    monkeypatch.setattr("os.getegid", lambda: file.stat().st_gid + 1)
    monkeypatch.setattr("os.getgroups", list)

    with pytest.raises(ValueError, match="chmod 600"):
        private.read_secret(file)
