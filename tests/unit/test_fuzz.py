"""The short form of `python -m tests.fuzz`: foreign bytes end nothing, and cost little."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_schemas.avro import encode
from tests.fuzz.decoders import DECODERS, try_one
from tests.fuzz.live_shard import KINDS, LiveShard
from tests.fuzz.mutations import any_bytes
from tests.unit.host_world import HostWorld
from tests.unit.records import records

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda one: one.name)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_foreign_bytes_are_read_or_refused(decoder: object, data: bytes) -> None:
    assert isinstance(decoder, tuple)
    assert try_one(decoder, data) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS, ids=lambda one: one.__name__)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_command_of_nonsense_stops_a_shard(kind: type, data: st.DataObject) -> None:
    world = HostWorld()
    world.run(500)
    for _ in range(5):
        world.write(encode(data.draw(records(kind))), key=b"w")
    world.run(2_000)

    assert world.host.takeovers == 1
    # A source that no host writes is told, which is right of it.
    expected = ("effect_parked", "signal_expired", "forged")
    assert not [text for text in world.findings if not text.startswith(expected)]


def test_a_run_of_the_fuzzer_finds_nothing_and_keeps_to_its_memory() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", "10000", "--seed", "7", "--quiet"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    assert "0 problems" in done.stdout


def test_the_fuzzer_finds_a_decoder_that_raises_and_a_host_that_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raises(_data: bytes) -> object:
        raise OverflowError("found")

    assert "OverflowError" in try_one(DECODERS[0]._replace(read=raises), b"")
    shard = LiveShard(Random(1))
    step: Callable[[], int] = shard._world.host.step

    def stops() -> int:
        step()
        raise SystemError("found")

    monkeypatch.setattr(shard._world.host, "step", stops)
    shard.take(1)
    assert shard.problems == ["the host died: SystemError: found"]
    assert any_bytes(Random(2), KINDS) == any_bytes(Random(2), KINDS)
