"""A minute of everything at once; `make chaos` goes on for as long as one likes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.kafka_jars import BrokerUnavailableError, kafka_libs
from tests.chaos.__main__ import Outcome
from tests.chaos.report import report

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]
MINUTES = 0.75
LONGEST_S = 8.0


@pytest.mark.seeds(0, fresh=1)
async def test_promises_hold_while_everything_fails(seed: int, tmp_path: Path) -> None:
    try:
        kafka_libs()
    except BrokerUnavailableError as missing:
        pytest.skip(f"no Kafka broker here: {missing}")
    outcome = Outcome(tmp_path, seed=seed, minutes=MINUTES, longest_s=LONGEST_S)

    broken = await outcome.play()

    assert outcome.verdict is not None
    print(
        report(
            seed=seed,
            minutes=MINUTES,
            blows=outcome.nemesis.blows,
            verdict=outcome.verdict,
            ended=outcome.stage.ended,
        )
    )
    assert broken == []
    assert outcome.nemesis.blows, "nothing went wrong, so nothing was tested"
