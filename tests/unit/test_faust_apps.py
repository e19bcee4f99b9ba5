"""What the Faust apps tell the broker of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure_views.insights import faust_app
from perdure_views.trigger_app import TriggerSettings, make_app

WAY = {"security_protocol": "PLAINTEXT"}


@pytest.mark.parametrize("kind", ["insights", "triggers"])
def test_a_killed_process_is_missed_within_ten_seconds(kind: str, tmp_path: Path):
    if kind == "triggers":
        app = make_app(
            TriggerSettings(group="g", bootstrap="127.0.0.1:1", directory=tmp_path, way=WAY), []
        )
    else:
        app = faust_app.make_app(
            faust_app.InsightsSettings(
                bootstrap="127.0.0.1:1",
                namespace="default",
                task_queue="q",
                partitions=1,
                directory=tmp_path,
                way=WAY,
            )
        )

    assert app.conf.broker_session_timeout <= 10
    assert app.conf.broker_heartbeat_interval * 3 <= app.conf.broker_session_timeout
