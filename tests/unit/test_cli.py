"""The `perdure` command, its output for people and programs, and its one-line errors."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import _assembly as assembly
from perdure.cli import run
from perdure_schemas import events
from perdure_schemas.avro import encode
from perdure_schemas.commands import CancelWorkflow, ListWorkflows, StartWorkflow, TerminateWorkflow
from perdure_schemas.payloads import Failure, FailureCause, Payload
from perdure_schemas.replies import (
    Accepted,
    Block,
    HistoryBatch,
    HistoryPage,
    Notice,
    PendingActivity,
    Refused,
    RunClosed,
    RunDescription,
    RunGroup,
    RunPage,
    RunSummary,
    TaskQueueInfo,
    WorkerInfo,
)
from perdure_topics.ports import Log
from tests.unit.scripted_host import Script, ScriptedHost

TAKEN = Accepted(workflow_id="o-1", run_id="run-1", first_run_id="run-1", started=True)
DECLINED = Failure(
    chain=[
        FailureCause(kind="activity", message="Activity task failed", activity_type="charge"),
        FailureCause(message="card declined", type="CardError"),
    ]
)
STUCK = RunSummary(
    workflow_id="o-9",
    run_id="run-9",
    workflow_type="Orders",
    status="blocked",
    start_ms=1_000,
    task_queue="orders",
    block=Block(cause="error", message="KeyError: 'price'\nmore", stack_trace="app.py:12"),
)


class Engine:
    """An embedded log that is served on loopback, and the host that answers on it."""

    def __init__(self, log: Log, url: str) -> None:
        self.log = log
        self.url = url
        self.host: ScriptedHost | None = None

    def script(self, script: Script) -> ScriptedHost:
        self.host = ScriptedHost(self.log, script)
        return self.host

    def run(self, *arguments: str) -> int:
        return run([*arguments, "--engine", self.url])


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("PERDURE_BROKER", "PERDURE_ENGINE", "PERDURE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    log, close = assembly.open_log(f"file:{tmp_path}/data")
    server = assembly.serve(log, port=0)
    made = Engine(log, server.address)
    yield made
    if made.host is not None:
        made.host.stop()
    server.close()
    close()


def test_a_start_sends_its_json_and_says_its_run(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    host = engine.script(lambda _: TAKEN)

    status = engine.run(
        *("workflow", "start", "Orders", "--id", "o-1", "-q", "orders", "-i", '{"a": 1}'),
        *("--id-conflict-policy", "use-existing", "-o", "json"),
    )

    assert status == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == "run-1"
    (command,) = host.commands
    assert isinstance(command, StartWorkflow)
    assert json.loads(command.input[0].data) == {"a": 1}
    assert command.id_conflict_policy == "use_existing"


def test_an_input_is_read_from_a_file(engine: Engine, tmp_path: Path) -> None:
    host = engine.script(lambda _: TAKEN)
    (tmp_path / "order.json").write_text('{"from": "file"}')

    status = engine.run(
        *("workflow", "start", "Orders", "--id", "o-1", "-q", "orders"),
        *("-i", f"@{tmp_path}/order.json", "-i", "2"),
    )

    assert status == 0
    assert [json.loads(p.data) for p in host.commands[0].input] == [{"from": "file"}, 2]


def test_a_result_is_printed_for_people_and_for_programs(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Payload(data=b'{"paid": 5}')
    closed = RunClosed(workflow_id="o-1", run_id="run-1", status="completed", result=result)
    engine.script(lambda _: closed)

    assert engine.run("workflow", "result", "--id", "o-1") == 0
    assert capsys.readouterr().out == 'completed {"paid": 5}\n'
    assert engine.run("workflow", "result", "--id", "o-1", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"workflow_id": "o-1", "result": {"paid": 5}}


def test_a_failed_workflow_is_exit_status_1_with_the_real_error_first(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = RunClosed(workflow_id="o-1", run_id="run-1", status="failed", failure=DECLINED)
    engine.script(lambda _: closed)

    assert engine.run("workflow", "result", "--id", "o-1") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: Workflow execution failed: CardError: card declined"
    assert lines[1].strip().startswith("activity charge failed")
    assert lines[2].strip() == "CardError: card declined"


def test_the_list_says_why_a_run_is_blocked(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.script(
        lambda ask: RunPage(runs=[encode(STUCK)], ranks=[b"0"]) if ask.partition == 1 else RunPage()
    )

    assert engine.run("workflow", "list") == 0
    header, row, why = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["STATUS", "WORKFLOW", "ID"]
    assert row.split()[:4] == ["blocked", "o-9", "Orders", "orders"]
    assert why == "o-9: error: KeyError: 'price'"
    assert engine.run("workflow", "list", "-o", "json") == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["workflow_id"], listed["status"]) == ("o-9", "blocked")


def test_describe_shows_attempts_errors_and_notices(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    pending = PendingActivity(
        activity_id="1",
        activity_type="charge",
        state="backing_off",
        attempt=3,
        maximum_attempts=5,
        last_failure=DECLINED,
    )
    description = RunDescription(
        summary=STUCK,
        pending_activities=[pending],
        notices=[Notice(code="no_worker", message="no worker listens on task queue 'orders'")],
        input=[Payload(data=b'"[bold]in"')],
    )
    engine.script(lambda _: description)

    assert engine.run("workflow", "describe", "--id", "o-9") == 0
    out = capsys.readouterr().out
    assert "o-9  blocked" in out
    assert "KeyError: 'price'" in out
    assert "app.py:12" in out
    assert "3 of 5" in out
    assert "CardError: card declined" in out
    assert "! no worker listens on task queue 'orders'" in out
    assert "[bold]in" in out


def test_a_history_is_a_timeline_with_attempts_and_errors(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [
        events.WorkflowStarted(workflow_type="Orders"),
        events.ActivityScheduled(activity_id="1", activity_type="charge"),
        events.ActivityRetryScheduled(activity_id="1", attempt=1, failure=DECLINED, due_ms=5),
        events.ActivityAttemptScheduled(activity_id="1", attempt=2),
        events.ActivityCompleted(activity_id="1", attempt=2, result=Payload(data=b'"paid"')),
        events.WorkflowCompleted(result=Payload(data=b'"shipped"')),
    ]
    batches = [
        HistoryBatch(offset=n, pseq=n, time_ms=1000 + 200 * n, seq=n + 1, events=[encode(event)])
        for n, event in enumerate(found)
    ]
    page = HistoryPage(run_id="run-1", status="completed", batches=batches, next_seq=7)
    engine.script(lambda _: page)

    assert engine.run("workflow", "history", "--id", "o-1") == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5", "6"]
    assert lines[2].split()[1:3] == ["0.4", "s"]
    assert "charge failed, will be retried" in lines[2]
    assert "attempt 1: Activity task failed <- CardError: card declined" in lines[2]
    assert "attempt 2 -> paid" in lines[4]
    assert engine.run("workflow", "show", "--id", "o-1", "-o", "json") == 0
    assert len(json.loads(capsys.readouterr().out)["events"]) == 6


def test_cancel_and_terminate_give_their_reason(engine: Engine) -> None:
    host = engine.script(lambda _: TAKEN)

    assert engine.run("workflow", "cancel", "--id", "o-1", "--reason", "why not") == 0
    assert engine.run("workflow", "terminate", "--id", "o-1", "--reason", "enough") == 0

    cancel, terminate = host.commands
    assert isinstance(cancel, CancelWorkflow)
    assert isinstance(terminate, TerminateWorkflow)
    assert (cancel.reason, terminate.reason) == ("why not", "enough")


def test_a_count_is_a_number(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.script(lambda ask: RunPage(count=2 + ask.partition))

    assert engine.run("workflow", "count") == 0
    assert capsys.readouterr().out == "5\n"


def test_a_count_by_groups_is_a_table(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    def group(ask: ListWorkflows) -> RunGroup:
        return RunGroup(values=[Payload(data=b'"Running"')], count=2 + ask.partition)

    engine.script(lambda ask: RunPage(count=2 + ask.partition, groups=[group(ask)]))
    query = "GROUP BY ExecutionStatus"

    assert engine.run("workflow", "count", "--query", query) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["Running", "5"]
    assert engine.run("workflow", "count", "--query", query, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"count": 5, "groups": [{"values": ["Running"], "count": 5}]}


def test_a_wrong_filter_is_one_line_with_its_column(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine.run("workflow", "list", "--query", "WorkflowType == 'A'") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the filter is wrong at column 15: there is '='")


def test_a_queue_without_activity_workers_says_so(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = WorkerInfo(
        worker_id="w", identity="me@here", task_queue="q", slots=9, slots_used=4, last_seen_ms=1
    )
    listening: list[WorkerInfo] = []
    engine.script(
        lambda ask: TaskQueueInfo(
            partition=ask.partition, epoch=1, pseq=1, upto=1, owner="h", workers=listening
        )
    )

    assert engine.run("task-queue", "describe", "-q", "orders") == 0
    assert "no worker listens on task queue 'orders'" in capsys.readouterr().out
    listening.append(worker)
    assert engine.run("task-queue", "describe", "-q", "orders") == 0
    assert "4 of 9" in capsys.readouterr().out


def test_what_would_be_made_is_told_and_not_made(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine.run("topics", "create", "-q", "later", "--dry-run", "-o", "json") == 0
    planned = json.loads(capsys.readouterr().out)

    assert "default.later.commands" in {row["name"] for row in planned}
    assert engine.run("topics", "describe", "-q", "later") == 1
    assert "there is no topic default.later.commands" in capsys.readouterr().err


def test_topics_are_lines_for_whoever_may_make_them(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--partitions", "3", "--replication-factor", "3", "--relay", "--script"]
    where = ["--broker", "kafka:9093", "--command-config", "admin.properties"]
    assert run(["topics", "create", "-q", "orders", *where, *options]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == (
        "kafka-topics.sh --bootstrap-server kafka:9093 --command-config admin.properties --create"
        " --if-not-exists --topic default.orders.commands --partitions 3 --replication-factor 3"
        " --config cleanup.policy=delete --config retention.ms=604800000"
        " --config retention.bytes=-1 --config message.timestamp.type=LogAppendTime"
        " --config max.message.bytes=1064960 --config unclean.leader.election.enable=false"
    )
    assert len(lines) == 7
    assert "--topic default.orders.marks --partitions 1" in lines[-1]
    assert "cleanup.policy=compact" in lines[-1]


def test_topics_are_made_once_and_shown(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    create = ("topics", "create", "-q", "orders", "--partitions", "3", "-o", "json")

    assert engine.run(*create) == 0
    first = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert engine.run(*create) == 0
    second = json.loads(capsys.readouterr().out)

    assert first["default.orders.commands"]["partitions"] == 3
    assert all(row["made"] for row in first.values())
    assert not any(row["made"] for row in second)
    assert engine.run("topics", "create", "-q", "orders", "--partitions", "4") == 1
    assert "the number is fixed when the topics are made" in capsys.readouterr().err
    assert engine.run("topics", "describe", "-q", "shops") == 1
    assert "perdure topics create" in capsys.readouterr().err


def test_a_refused_start_says_which_run_is_in_its_way(
    engine: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = Refused(code="already_started", message="id 'o-1' is running", run_id="run-7")
    engine.script(lambda _: refused)

    assert engine.run("workflow", "start", "Orders", "--id", "o-1", "-q", "orders") == 1
    err = capsys.readouterr().err
    assert err == ("error: Workflow execution already started: id 'o-1' is running (run run-7)\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["workflow", "start"], "Missing argument 'TYPE'"),
        (["workflow", "start", "T", "--id", "i", "-q", "q", "-i", "{"], "--input 1 is no JSON"),
        (["workflow", "list", "--no-such"], "--no-such"),
        (["no-such"], "no-such"),
        (["workflow", "list", "--broker", "a:1", "--engine", "http://b:1"], "not both"),
        (["topics", "create", "--partitions", "many", "-q", "q"], "--partitions"),
        (["worker", "json", "-q", "orders", "--workflows-only", "--activities-only"], "json"),
    ],
)
def test_a_wrong_usage_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(arguments)

    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert status == (1 if line.startswith("error:") else 2)


def test_an_engine_that_is_away_is_one_line_with_its_address(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "ENGINE_WAIT_S", 0.2)

    assert run(["workflow", "list", "--engine", "http://127.0.0.1:9"]) == 1

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "127.0.0.1:9" in last


def test_the_environment_chooses_the_target(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.script(lambda _: RunPage(count=1))
    monkeypatch.setenv("PERDURE_BROKER", "nowhere.invalid:1")
    monkeypatch.setenv("PERDURE_ENGINE", engine.url)

    assert run(["workflow", "count"]) == 0
    assert capsys.readouterr().out == "2\n"


def test_running_the_command_leaves_signals_alone(engine: Engine) -> None:
    before = signal.getsignal(signal.SIGTERM)
    engine.script(lambda _: RunPage())

    engine.run("workflow", "count")

    assert signal.getsignal(signal.SIGTERM) is before
