"""`perdure activity`: each command sends the record that it stands for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from perdure_schemas import operator_commands as op
from perdure_schemas.payloads import Failure, FailureCause, RetryPolicy
from perdure_schemas.replies import Accepted, Refused
from tests.unit.test_cli import Engine, engine, wide

__all__ = ["engine", "wide"]

TAKEN = Accepted(workflow_id="o-1", run_id="run-1")


@pytest.mark.parametrize(
    ("arguments", "kind", "fields", "done"),
    [
        (["pause", "--reason", "why"], op.PauseActivity, {"reason": "why"}, "paused"),
        (
            ["unpause", "--reset-attempts", "--jitter", "2"],
            op.UnpauseActivity,
            {"reset_attempts": True, "jitter_ms": 2_000},
            "unpaused",
        ),
        (
            ["reset", "--keep-paused", "--reset-heartbeat"],
            op.ResetActivity,
            {"keep_paused": True, "reset_heartbeat": True},
            "reset",
        ),
        (["retry"], op.RetryActivityNow, {}, "will be tried again"),
        (
            ["update-options", "--start-to-close", "5", "--heartbeat", "0"],
            op.UpdateActivityOptions,
            {"start_to_close_ms": 5_000, "heartbeat_ms": 0},
            "updated",
        ),
        (
            ["update-options", "--maximum-attempts", "3", "--restore-original"],
            op.UpdateActivityOptions,
            {"retry_policy": RetryPolicy(maximum_attempts=3), "restore_original": True},
            "updated",
        ),
    ],
)
def test_a_command_sends_its_record(
    engine: Engine,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    kind: Any,
    fields: dict[str, Any],
    done: str,
) -> None:
    host = engine.script(lambda _: TAKEN)

    assert engine.run("activity", *arguments, "--id", "o-1", "-a", "3", "-q", "orders") == 0

    assert capsys.readouterr().out == f"{done}: o-1\n"
    (sent,) = host.commands
    assert isinstance(sent, kind)
    plain = msgspec.structs.replace(sent, request_id="", first_sent_ms=0, reply=None, identity="")
    assert plain == kind(workflow_id="o-1", activity_id="3", **fields)


def test_a_failure_is_what_the_workflow_will_see(engine: Engine) -> None:
    host = engine.script(lambda _: TAKEN)

    told = ["--message", "by cheque", "--error-type", "Manual", "--activity-type", "refund"]
    assert engine.run("activity", "fail", *told, "--id", "o-1", "-q", "orders") == 0

    (sent,) = host.commands
    assert isinstance(sent, op.FailActivityNow)
    assert sent.activity_type == "refund"
    cause = FailureCause(message="by cheque", type="Manual", source="perdure", non_retryable=True)
    assert sent.failure == Failure(chain=[cause])


def test_a_refusal_is_one_line(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.script(lambda _: Refused(code="not_found", message="no such activity"))

    assert engine.run("activity", "retry", "--id", "o-1", "-a", "3", "-q", "orders") == 1

    assert "no such activity" in capsys.readouterr().err
