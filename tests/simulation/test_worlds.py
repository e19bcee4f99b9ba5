"""Worlds of many seeds keep every promise, and a seed is the same world every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure_schemas.avro import encode
from perdure_schemas.events import WorkflowStarted
from perdure_schemas.transition import EpochBump, Transition, TransitionBody
from perdure_topics.ports import StoredRecord
from tests.simulation.checker import check
from tests.simulation.swarm import draw_whole
from tests.simulation.world import World

ROOT = Path(__file__).parents[2]
SHOWN_MAX = 10


def _run(seed: int, *, truncation: bool = False) -> World:
    world = World(draw_whole(seed, truncation=truncation))
    world.run()
    return world


@pytest.mark.seeds(50, fresh=10)
def test_a_world_keeps_its_promises(seed: int) -> None:
    world = _run(seed)

    assert world.violations[:SHOWN_MAX] == []
    assert world.effects, "nothing ran, so nothing was tested"


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 7])
def test_a_log_that_lost_what_it_acknowledged_heals(number: int) -> None:
    world = _run(number, truncation=True)

    assert world.violations[:SHOWN_MAX] == []


def test_the_same_seed_is_the_same_world() -> None:
    hashes = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--from", "11", "--seeds", "3", "--hash"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        hashes.append([line for line in done.stdout.splitlines() if line.startswith("seed ")])

    assert len(hashes[0]) == 3
    assert hashes[0] == hashes[1]


def test_a_world_leaves_nothing_behind_for_the_next() -> None:
    """A seed that was printed must do the same alone: errors that were raised twice did not."""
    first, second = _run(33266501), _run(33266501)

    assert first.log_hash() == second.log_hash()


def _log(*envelopes: EpochBump | Transition) -> dict[str, list[StoredRecord]]:
    topic = "ns.queue.events"
    return {
        topic: [
            StoredRecord(topic, 0, offset, None, encode(envelope), (), 1_000 + offset)
            for offset, envelope in enumerate(envelopes)
        ]
    }


def _start(pseq: int, seq: int, *, epoch: int = 5) -> Transition:
    body = TransitionBody(
        workflow_id="wf",
        run_id="run",
        seq=seq,
        events=[encode(WorkflowStarted(workflow_type="other"))],
    )
    return Transition(
        epoch=epoch,
        nonce=b"n",
        pseq=pseq,
        after=-1,
        upto=-1,
        dispatched=0,
        time_ms=1,
        body=encode(body),
    )


BUMP = EpochBump(epoch=5, nonce=b"n", input_topic_id="t", owner="o", time_ms=0)


def test_the_checker_takes_a_plain_dump() -> None:
    found = check(_log(BUMP, _start(1, 1)), healed=False)

    assert found == []


def test_the_checker_counts_no_stale_record() -> None:
    found = check(_log(BUMP, _start(1, 1), _start(1, 9), _start(2, 7, epoch=4)), healed=False)

    assert found == []


def test_the_checker_sees_a_seq_that_does_not_fit() -> None:
    found = check(_log(BUMP, _start(1, 1), _start(2, 4)), healed=False)

    assert [violation.letter for violation in found] == ["C"]


def test_the_checker_sees_a_run_without_an_end() -> None:
    found = check(_log(BUMP, _start(1, 1)), healed=True)

    assert [violation.letter for violation in found] == ["H"]
