"""Resets over the API: who may, what is answered, and what the history says afterwards."""

from __future__ import annotations

import io
import json
import sys

import pytest

from perdure.cli import run
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded
PATH = "/api/v1/workflow/reset"


def newest(caller: Caller, id: str) -> str:
    """The newest run of an id."""
    run_id: str = caller.get("/api/v1/workflow", id=id).json()["run"]["run_id"]
    return run_id


def test_a_run_is_reset_to_its_first_activity(site: Site, caller: Caller) -> None:
    site.execute("Greeting", "Ada", id="reset-1")
    old = newest(caller, "reset-1")
    body = {"workflow_id": "reset-1", "to": "FirstActivity", "reason": "once more"}

    answer = caller.post(PATH, body)

    assert answer.status_code == 200, answer.text
    new = answer.json()["run_id"]
    assert new != old
    assert site.result("reset-1") == "Hello, Ada!"
    assert newest(caller, "reset-1") == new
    events = caller.get("/api/v1/workflow/history", id="reset-1").json()["events"]
    assert events[0]["attributes"]["reset"]["run_id"] == old
    assert events[0]["attributes"]["reset"]["reason"] == "once more"


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"to": "LastFriday"}, 400, "a reset goes to first-workflow-task"),
        ({"to": "99"}, 400, "has no event 99"),
        ({"to": "build:x"}, 400, "took no step by build x"),
        ({"exclude": ["timer"]}, 400, "a reset leaves out signal or update"),
        ({"workflow_id": "nobody-1"}, 404, "nobody-1"),
    ],
)
def test_what_cannot_be_is_refused(
    site: Site, caller: Caller, fields: dict[str, object], status: int, text: str
) -> None:
    site.execute("Greeting", "Bob", id="reset-2")
    old = newest(caller, "reset-2")

    answer = caller.post(PATH, {"workflow_id": "reset-2", **fields})

    assert answer.status_code == status, answer.text
    assert text in answer.json()["message"]
    assert newest(caller, "reset-2") == old


def test_the_command_resets_a_run(
    site: Site, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    site.execute("Greeting", "Eve", id="reset-3")
    old = newest(caller, "reset-3")

    asked = ("workflow", "reset", "--id", "reset-3", "--engine", site.url)
    status = run([*asked, "--to", "FirstActivity", "--reapply-exclude", "all", "-o", "json"])

    assert status == 0
    done = json.loads(capsys.readouterr().out)
    assert done["done"] == "reset"
    assert site.result("reset-3") == "Hello, Eve!"
    assert newest(caller, "reset-3") == done["run_id"] != old
    assert run([*asked, "--to", "yesterday"]) == 2
    assert "a reset goes to first-workflow-task" in capsys.readouterr().err


def test_a_closed_run_is_deleted_by_the_api_and_by_the_command(
    site: Site, caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    for id in ("gone-1", "gone-2"):
        site.execute("Greeting", "Kim", id=id)

    answer = caller.post("/api/v1/workflow/delete", {"workflow_id": "gone-1", "reason": "test"})
    status = run(["workflow", "delete", "--id", "gone-2", "--engine", site.url])

    assert answer.status_code == 200, answer.text
    assert (status, capsys.readouterr().out) == (0, "deleted: gone-2\n")
    for id in ("gone-1", "gone-2"):
        assert caller.get("/api/v1/workflow", id=id).status_code == 404
    listed = caller.get("/api/v1/workflows", query="WorkflowId STARTS_WITH 'gone-'").json()
    assert listed["runs"] == []


def test_an_open_run_is_not_deleted(site: Site, caller: Caller) -> None:
    site.start("Sleeping", 3600, id="stays-1")

    answer = caller.post("/api/v1/workflow/delete", {"workflow_id": "stays-1"})

    assert answer.status_code == 409
    assert "cancel or terminate it first" in answer.json()["message"]
    caller.post("/api/v1/workflow/terminate", {"workflow_id": "stays-1"})


def test_a_batch_is_looked_at_asked_for_and_followed_by_commands(
    site: Site, caller: Caller, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        site.start("Sleeping", 3600, id=f"many-{number}")
    query = "WorkflowId STARTS_WITH 'many-'"
    asked = ["batch", "start", "terminate", "--query", query, "--engine", site.url]
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    assert run(asked) == 1
    assert "the filter names 3 runs" in capsys.readouterr().out
    running = f"{query} AND ExecutionStatus = 'Running'"
    assert len(caller.get("/api/v1/workflows", query=running).json()["runs"]) == 3

    assert run([*asked, "--yes", "--wait", "--reason", "enough", "-o", "json"]) == 0
    batch = json.loads(capsys.readouterr().out)
    assert (batch["status"], batch["done"], batch["total"]) == ("completed", 3, 3)
    assert caller.get("/api/v1/workflows", query=running).json()["runs"] == []

    where = ["--engine", site.url]
    assert run(["batch", "describe", batch["batch"], *where]) == 0
    assert "completed; 3 done, 0 skipped, 0 failed, of 3" in capsys.readouterr().out
    assert run(["batch", "list", "-o", "json", *where]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert batch["batch"] in [one["batch"] for one in listed]
    assert run(["batch", "describe", "nobody", *where]) == 1


def test_the_stack_of_a_run_is_shown_and_an_engine_needs_no_scheme(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.start("Sleeping", 3600, id="stack-1")
    where = ["--engine", site.url.removeprefix("http://")]

    assert run(["workflow", "stack", "--workflow-id", "stack-1", *where]) == 0
    assert "shop.py" in capsys.readouterr().out
    assert run(["workflow", "terminate", "-w", "stack-1", *where]) == 0


def test_json_is_indented_on_a_terminal_and_is_one_line_elsewhere(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.execute("Greeting", "Liv", id="json-1")
    asked = ["workflow", "describe", "--id", "json-1", "-o", "json", "--engine", site.url]

    assert run(asked) == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run(asked) == 0
    shown = capsys.readouterr().out

    assert plain.count("\n") == 1
    assert shown.startswith("{\n  ")
    assert json.loads(shown) == json.loads(plain)
