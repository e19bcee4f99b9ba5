"""Nothing is reported before its sync: what was acknowledged is there after a power failure."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.ports import LogEndLostError
from tests import losing_disk
from tests.embedded_rig import read_all
from tests.losing_app import totals
from tests.losing_writer import PLANTS

PLANTED_SEEDS = 12


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return losing_disk.build(tmp_path_factory.mktemp("layer"))


def lost(library: Path, directory: Path, seed: int, plant: str = "") -> list[str]:
    """What was acknowledged to a writer and is not there after the power has failed."""
    root, kept = directory / "disk", directory / "kept"
    root.mkdir(parents=True)
    said = losing_disk.run(library, root, kept, "tests.losing_writer", (root, seed, plant))
    assert said
    losing_disk.image(root, kept, directory / "image")
    try:
        log = EmbeddedLog.open(directory / "image")
    except LogEndLostError:
        return said
    found: set[str] = set()
    for name in log.topic_names():
        found.add(f"{name} -")
        for partition in range(2):
            values = (value or b"" for value in read_all(log, name, partition))
            found.update(f"{name} {partition} {value.decode()}" for value in values)
    log.close()
    return [line for line in said if line not in found]


@pytest.mark.seeds(3, fresh=2)
def test_what_was_acknowledged_survives_a_power_failure(library, tmp_path, seed):
    assert lost(library, tmp_path, seed) == []


@pytest.mark.parametrize("plant", PLANTS)
def test_a_log_that_acknowledges_too_early_is_found(library, tmp_path, plant):
    assert any(lost(library, tmp_path / f"{seed}", seed, plant) for seed in range(PLANTED_SEEDS))


@pytest.mark.seeds(1, fresh=1)
async def test_what_clients_were_told_is_so_after_a_power_failure(library, tmp_path, seed):
    """Also when all of the tables survives, which are never synced, and not all of the log."""
    root, kept, image = tmp_path / "disk", tmp_path / "kept", tmp_path / "image"
    root.mkdir()
    arguments = ("tests.losing_app", (root, seed))
    lines = await asyncio.to_thread(losing_disk.run, library, root, kept, *arguments)
    said = {name: int(total) for name, total in (line.split() for line in lines)}
    assert said
    losing_disk.image(root, kept, image)
    shutil.rmtree(image / "tables", ignore_errors=True)
    shutil.copytree(root / "tables", image / "tables")
    found = await totals(image, list(said))
    # One more update may have been taken by the log before its sender was told.
    assert all(total <= found[name] <= total + 3 for name, total in said.items()), (said, found)
