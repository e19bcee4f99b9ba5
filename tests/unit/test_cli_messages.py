"""`perdure workflow signal|query|metadata|update` and a history that is followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from perdure.cli import history, run
from perdure.cli.timeline import Timeline
from perdure.client._history import HistoryEvent
from perdure_schemas import child_events as ce
from perdure_schemas import events
from perdure_schemas import message_commands as asked
from perdure_schemas.avro import encode
from perdure_schemas.message_events import WorkflowSignaled
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, RunRef
from perdure_schemas.replies import (
    Accepted,
    HistoryBatch,
    HistoryPage,
    QueryAnswer,
    Refused,
    UpdateAnswer,
)
from tests.unit.test_cli import Engine, engine, wide

__all__ = ["engine", "wide"]

TAKEN = Accepted(workflow_id="o-1", run_id="run-1")
PAID = Payload(data=b'{"paid": 5}')
BEGUN = events.WorkflowStarted(workflow_type="Orders")
SIGNALLED = WorkflowSignaled(signal_name="add", input=[Payload(data=b"[1, 2]")])


def test_a_signal_is_sent_to_one_run_with_its_json(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    host = engine.script(lambda _: TAKEN)

    status = engine.run(
        *("workflow", "signal", "add", "--id", "o-1", "--run-id", "run-1"),
        *("-i", '{"a": 1}', "-i", "2", "--buffer", "1.5", "-o", "json"),
    )

    assert status == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"workflow_id": "o-1", "signal": "add", "done": "taken"}
    (sent,) = [one for one in host.commands if isinstance(one, asked.SignalWorkflow)]
    assert (sent.signal_name, sent.run_id, sent.buffer_ms) == ("add", "run-1", 1_500)
    assert [json.loads(payload.data) for payload in sent.input] == [{"a": 1}, 2]


def test_a_query_prints_its_value_for_people_and_for_programs(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    host = engine.script(lambda _: QueryAnswer(run_id="run-1", result=PAID))
    ask = ("workflow", "query", "total", "--id", "o-1", "--reject-condition", "not-open")

    assert engine.run(*ask) == 0
    assert capsys.readouterr().out == '{"paid": 5}\n'
    assert engine.run(*ask, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["result"] == {"paid": 5}
    (sent, _) = host.commands
    assert (sent.query_name, sent.reject_condition) == ("total", "not_open")


def test_metadata_says_what_the_run_says_of_itself(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {
        "definition": {
            "type": "Orders",
            "queryDefinitions": [{"name": "total", "description": "what is owed"}],
            "updateDefinitions": [{}],
        },
        "currentDetails": "**packing**",
    }
    host = engine.script(
        lambda _: QueryAnswer(run_id="run-1", result=Payload(data=json.dumps(said).encode()))
    )

    assert engine.run("workflow", "metadata", "--id", "o-1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Orders",
        "**packing**",
        "query total: what is owed",
        "update (any other)",
    ]
    assert engine.run("workflow", "metadata", "--id", "o-1", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["currentDetails"] == "**packing**"
    assert {one.query_name for one in host.commands} == {"__temporal_workflow_metadata"}


def test_an_update_waits_for_the_stage_it_is_told(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(command: Any) -> Record:
        is_whole = command.stage == "completed" if hasattr(command, "stage") else False
        return UpdateAnswer(
            run_id="run-1",
            update_id=command.update_id,
            stage="completed" if is_whole else "accepted",
            result=PAID if is_whole else None,
        )

    host = engine.script(script)
    ask = ("workflow", "update", "pay", "--id", "o-1", "--update-id", "u-1", "-i", "5")

    assert engine.run(*ask, "--wait-for-stage", "accepted") == 0
    assert capsys.readouterr().out == "accepted: update u-1, run run-1\n"
    assert engine.run(*ask, "-o", "json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["update_id"], said["stage"], said["result"]) == ("u-1", "completed", {"paid": 5})
    sent = [one for one in host.commands if isinstance(one, asked.UpdateWorkflow)]
    assert {one.update_id for one in sent} == {"u-1"}


def test_an_update_that_fails_is_one_line_with_its_cause(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Failure(chain=[FailureCause(message="too much", type="Limit")])
    engine.script(
        lambda one: UpdateAnswer(
            run_id="run-1", update_id=one.update_id, stage="completed", failure=refused
        )
    )

    assert engine.run("workflow", "update", "pay", "--id", "o-1") == 1

    assert "too much" in capsys.readouterr().err


def test_a_signal_that_nobody_takes_is_one_line(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.script(lambda _: Refused(code="not_found", message="no workflow 'o-1'"))

    assert engine.run("workflow", "signal", "add", "--id", "o-1", "-q", "orders") == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: signal 'add' to workflow 'o-1': no workflow 'o-1'"


def _pages(command: Any) -> Iterable[Record]:
    """The run is open with two events, then closes with a third."""
    happened: list[Record] = [BEGUN, SIGNALLED, events.WorkflowCompleted(result=PAID)]
    is_first = command.from_seq <= 1
    first, end = (1, 2) if is_first else (3, 3)
    batches = [
        HistoryBatch(
            offset=seq, pseq=seq, time_ms=1000 * seq, seq=seq, events=[encode(happened[seq - 1])]
        )
        for seq in range(first, end + 1)
    ]
    status = "running" if is_first else "completed"
    yield HistoryPage(run_id="run-1", status=status, batches=batches, next_seq=end + 1)


def test_a_followed_history_ends_with_its_run(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    host = engine.script(_pages)
    follow = ("workflow", "show", "--id", "o-1", "--follow")

    assert engine.run(*follow) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "o-1, run run-1"
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert lines[2].split() == ["2", "1.0", "s", "signal", "add", "[1,", "2]"]
    assert [(one.from_seq, one.wait_new) for one in host.commands] == [(1, True), (3, True)]
    assert engine.run(*follow, "-o", "json") == 0
    assert [json.loads(line)["eventId"] for line in capsys.readouterr().out.splitlines()] == [
        "1",
        "2",
        "3",
    ]


def test_on_a_terminal_a_followed_history_keeps_its_columns(
    engine: Engine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        history, "console", lambda: Console(force_terminal=True, width=120, highlight=False)
    )
    engine.script(_pages)

    assert engine.run("workflow", "history", "--id", "o-1", "--follow") == 0

    shown = capsys.readouterr().out
    assert "the run is open" in shown
    assert "signal add" in shown


def test_the_shell_completes_commands_and_options() -> None:
    answers = [
        subprocess.run(
            [sys.executable, "-m", "perdure.cli"],
            env={
                **os.environ,
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
                "_PERDURE_COMPLETE": "complete_bash",
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        ).stdout.split()
        for words in ("perdure workf", "perdure workflow update --wait")
    ]

    assert answers == [["workflow"], ["--wait-for-stage"]]


def test_the_shell_is_told_how_to_complete(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")

    with pytest.raises(SystemExit) as end:
        run(["--show-completion", "bash"])

    assert end.value.code == 0
    assert "complete_bash" in capsys.readouterr().out


def test_children_and_calls_are_named_by_the_ids_of_their_workflows() -> None:
    target = RunRef(workflow_id="cart-1")
    failure = Failure(chain=[FailureCause(message="no", type="Declined")])
    happened: list[Record] = [
        BEGUN,
        ce.ChildWorkflowInitiated(child_id="1", workflow_id="kid", workflow_type="Kid"),
        ce.ChildWorkflowStarted(child_id="1", run_id="r"),
        ce.ChildWorkflowFailed(child_id="1", failure=failure),
        ce.ExternalStartInitiated(call_id="1", workflow_id="cart-1", workflow_type="Cart"),
        ce.ExternalStarted(call_id="1", run_id="c"),
        ce.ExternalSignalInitiated(call_id="2", target=target, signal_name="add"),
        ce.ExternalSignalFailed(call_id="2", code="closed", message="too late"),
        ce.ExternalCancelInitiated(call_id="3", target=target, reason="enough"),
    ]
    timeline, now = Timeline(), datetime.now(tz=UTC)

    rows = [
        timeline.row(HistoryEvent(event_id=seq, event_time=now, event=event))
        for seq, event in enumerate(happened, 1)
    ]

    assert [row[3] for row in rows[1:]] == [
        "child kid asked for",
        "child kid runs",
        "child kid failed",
        "start of cart-1 sent",
        "start of cart-1 taken",
        "signal add to cart-1 sent",
        "signal add to cart-1 refused",
        "cancel of cart-1 sent",
    ]
    assert "Declined: no" in rows[3][4]
    assert rows[7][4] == "closed: too late"
