"""A broker of a platform team: members must be silent for ten seconds before they are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.broker.conftest import MakeBroker
from tests.broker.orders_app import Job, outcome_of
from tests.broker.processes import QUEUE, Crew

pytestmark = [pytest.mark.broker, pytest.mark.timeout(150)]


async def test_orders_run_where_sessions_are_ten_seconds_at_least(
    own_broker: MakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = own_broker(settings={"group.min.session.timeout.ms": "10000"})
    monkeypatch.setenv("PERDURE_KAFKA_SESSION_TIMEOUT_MS", "10000")
    crew = Crew(broker.bootstrap, tmp_path)
    try:
        crew.create_topics()
        crew.both()
        job = Job("strict", steps=2)
        async with crew.client() as client:
            result = await client.execute_workflow("Chain", job, id=job.name, task_queue=QUEUE)
        assert result == outcome_of(job)
    finally:
        crew.end()
