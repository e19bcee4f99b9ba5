"""A partition's list in pages: every run once, the blocked ones first, however many there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from perdure_actors import reads, rows
from perdure_actors.core.state import BLOCKED, COMPLETED
from perdure_topics.memory_tables import MemoryTableStore


def shard_of(statuses: list[str]) -> Any:
    """A shard whose table has a run for each status, the first the newest."""
    table = MemoryTableStore().open("list")
    puts = []
    for number, status in enumerate(statuses):
        run_id = f"run-{number:04d}"
        puts.append((rows.index_key(1_000_000 - number, run_id), status.encode()))
        if status == BLOCKED:
            puts.append((rows.blocked_key(run_id), b""))
    table.write(puts, [])
    return SimpleNamespace(table=table)


def pages(shard: Any, page_size: int) -> list[list[str]]:
    found, token = [], b""
    for _ in range(200):
        ids, token = reads._listed_ids(cast(Any, shard), page_size, token)
        found.append(ids)
        if not token:
            return found
    pytest.fail("the list has no end")


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 50])
@pytest.mark.parametrize(
    "statuses",
    [
        [],
        [COMPLETED] * 7,
        [BLOCKED] * 7,
        [BLOCKED, COMPLETED] * 6,
        [COMPLETED] * 5 + [BLOCKED] * 9,
        [BLOCKED] * 9 + [COMPLETED] * 5,
    ],
)
def test_every_run_comes_once_the_blocked_ones_first(statuses: list[str], page_size: int) -> None:
    found = pages(shard_of(statuses), page_size)

    ids = [id for page in found for id in page]
    blocked = [f"run-{n:04d}" for n, status in enumerate(statuses) if status == BLOCKED]
    others = [f"run-{n:04d}" for n, status in enumerate(statuses) if status != BLOCKED]
    assert ids == blocked + others
    assert all(len(page) <= page_size for page in found)
