"""Copies of a table: the newest two are kept, and none of a log that is no more."""

from __future__ import annotations

from pathlib import Path

from perdure_actors.partition.checkpoints import Checkpoints
from perdure_topics.tables.memory_tables import MemoryTableStore


def written(directory: Path, *pseqs: int, value: bytes = b"1") -> list[int]:
    """The places of the copies there are, after some more were written."""
    table = MemoryTableStore().open("t")
    table.write([(b"k", value)], [])
    checkpoints = Checkpoints(str(directory), "cluster", "t")
    assert all(checkpoints.write(table, pseq) for pseq in pseqs)
    return sorted(int(path.name) for path in (directory / "cluster" / "t").iterdir())


def installed(directory: Path) -> bytes | None:
    store = MemoryTableStore()
    assert Checkpoints(str(directory), "cluster", "t").install(store)
    return store.open("t").get(b"k")


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    assert written(tmp_path, 100, 200, 300) == [200, 300]


def test_copies_of_a_topic_that_was_made_anew_go(tmp_path: Path) -> None:
    written(tmp_path, 100_000, 200_000, value=b"old")

    assert written(tmp_path, 5_000, value=b"new") == [5_000]
    assert written(tmp_path, 6_000, value=b"newer") == [5_000, 6_000]
    assert installed(tmp_path) == b"newer"


def test_a_copy_takes_the_place_of_an_older_one_of_its_number(tmp_path: Path) -> None:
    written(tmp_path, 100, value=b"old")

    assert written(tmp_path, 100, value=b"new") == [100]
    assert installed(tmp_path) == b"new"
