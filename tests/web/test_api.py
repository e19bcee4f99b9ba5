"""The JSON API against a real engine: the same semantics and errors as a client's calls."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from perdure_topics.names import PARTITIONS_DEFAULT
from perdure_views.gateway.app import ENDPOINTS
from tests.web.shop import HOUR_S, TASK_QUEUE
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded


def begin(id: str, workflow: str, *args: object) -> dict[str, object]:
    return {
        "workflow_id": id,
        "workflow_type": workflow,
        "task_queue": TASK_QUEUE,
        "input": list(args),
    }


def test_a_started_workflow_has_a_result_and_a_history_with_its_places(caller: Caller) -> None:
    started = caller.post("/api/v1/workflows", begin("api-1", "Greeting", "ada"))
    closing = caller.get("/api/v1/workflow/result", id="api-1", wait=10).json()
    history = caller.get("/api/v1/workflow/history", id="api-1").json()

    assert (started.status_code, started.json()["started"]) == (201, True)
    assert (closing["status"], closing["result"]["value"]) == ("completed", "Hello, ada!")
    kinds = [event["type"] for event in history["events"]]
    assert kinds == [
        "WorkflowStarted",
        "ActivityScheduled",
        "ActivityCompleted",
        "WorkflowCompleted",
    ]
    assert history["topic"] == f"default.{TASK_QUEUE}.events"
    assert history["partition"] >= 0
    assert all(event["offset"] >= 0 for event in history["events"])
    scheduled = history["events"][1]["attributes"]
    assert scheduled["input"] == [{"encoding": "json/plain", "size": 5, "value": "ada"}]
    assert "tests/web/shop.py:" in scheduled["call_site"]


def test_who_started_it_stands_in_its_history(caller: Caller) -> None:
    caller.post("/api/v1/workflows", begin("api-who", "Sleeping", HOUR_S))
    caller.post("/api/v1/workflow/terminate", {"workflow_id": "api-who", "reason": "enough"})

    events = caller.get("/api/v1/workflow/history", id="api-who").json()["events"]

    assert events[0]["attributes"]["identity"] == "local"
    ended = events[-1]
    assert ended["type"] == "WorkflowTerminated"
    assert ended["attributes"]["identity"] == "local"
    assert ended["attributes"]["reason"] == "enough"


def test_a_second_start_of_an_open_id_is_refused_as_it_is_for_a_client(caller: Caller) -> None:
    caller.post("/api/v1/workflows", begin("api-twice", "Sleeping", HOUR_S))

    again = caller.post("/api/v1/workflows", begin("api-twice", "Sleeping", HOUR_S))

    assert (again.status_code, again.json()["code"]) == (409, "already_started")


def test_a_start_with_the_same_request_id_is_the_same_start(caller: Caller) -> None:
    body = {**begin("api-once", "Sleeping", HOUR_S), "request_id": "mine"}

    first = caller.post("/api/v1/workflows", body).json()
    second = caller.post("/api/v1/workflows", body).json()

    assert first["run_id"] == second["run_id"]


def test_numbers_keep_their_digits(site: Site, caller: Caller) -> None:
    body = json.dumps(begin("api-digits", "Echoing")).replace(
        '"input": []', '"input": [12345678901234567890123]'
    )
    caller.http.post(
        "/api/v1/workflows",
        content=body,
        headers={"content-type": "application/json", "x-perdure-csrf": caller.csrf},
    )

    raw = caller.get("/api/v1/workflow/result", id="api-digits", wait=10)
    described = caller.get("/api/v1/workflow", id="api-digits").json()

    assert b"12345678901234567890123" in raw.content
    assert described["input"][0]["text"] == "12345678901234567890123"


def test_the_list_has_the_newest_first_and_pages_go_on_without_gap_or_repeat(
    site: Site, caller: Caller
) -> None:
    for number in range(25):
        site.start("Greeting", "ada", id=f"api-page-{number}")

    seen, page = [], ""
    while True:
        answer = caller.get("/api/v1/workflows", limit=7, page=page).json()
        assert answer["silent"] == []
        seen += [(run["start_ms"], run["run_id"]) for run in answer["runs"] if not run["block"]]
        page = answer["next_page"]
        if not page:
            break
    count = caller.get("/api/v1/workflows/count").json()["count"]

    assert [start for start, _ in seen] == sorted((start for start, _ in seen), reverse=True)
    assert len({run for _, run in seen}) == len(seen)
    assert len(seen) <= count
    whole = caller.get("/api/v1/workflows", limit=500).json()["runs"]
    assert {run for _, run in seen} == {run["run_id"] for run in whole if not run["block"]}


def test_a_blocked_run_stands_first_with_its_cause(site: Site, caller: Caller) -> None:
    site.start("Buggy", id="api-blocked")
    caller.get("/api/v1/workflow/history", **{"id": "api-blocked", "from": 2, "wait": 10})

    first = caller.get("/api/v1/workflows", limit=1).json()["runs"][0]

    assert first["status"] == "blocked"
    assert "KeyError" in first["block"]["message"]
    caller.post("/api/v1/workflow/terminate", {"workflow_id": "api-blocked"})


def test_a_closed_run_refuses_a_stale_page(site: Site, caller: Caller) -> None:
    site.execute("Greeting", "ada", id="api-stale")

    answer = caller.post("/api/v1/workflow/cancel", {"workflow_id": "api-stale"})

    assert answer.status_code in (404, 409)
    assert "api-stale" in answer.json()["message"]


def test_two_operators_at_once_end_a_run_once(site: Site, caller: Caller) -> None:
    site.start("Sleeping", HOUR_S, id="api-two")
    other = Caller(site.url)

    answers = [
        one.post("/api/v1/workflow/terminate", {"workflow_id": "api-two"}).status_code
        for one in (caller, other)
    ]
    other.close()

    events = caller.get("/api/v1/workflow/history", id="api-two").json()["events"]
    assert answers[0] == 200
    assert answers[1] in (404, 409)
    assert [event["type"] for event in events].count("WorkflowTerminated") == 1


def test_task_queues_show_owners_workers_and_lag(caller: Caller) -> None:
    names = caller.get("/api/v1/task-queues").json()["task_queues"]
    found = caller.get("/api/v1/task-queue", queue=TASK_QUEUE).json()

    assert TASK_QUEUE in names
    assert len(found["partitions"]) == PARTITIONS_DEFAULT
    assert all(one["answers"] and one["owner"] for one in found["partitions"])
    assert found["silent"] == 0


@pytest.mark.parametrize(
    ("path", "params", "status", "says"),
    [
        ("/api/v1/workflow", {"id": "nobody"}, 404, "nobody"),
        ("/api/v1/workflow", {}, 400, "id is missing"),
        ("/api/v1/workflow", {"id": "x", "queue": "no-such"}, 404, "no-such"),
        ("/api/v1/workflow", {"id": "x" * 60_000}, 400, "workflow id"),
        ("/api/v1/workflows", {"limit": 100_000}, 400, "limit is 1 to 500"),
        ("/api/v1/workflows", {"limit": "many"}, 400, "whole number"),
        ("/api/v1/workflows", {"page": "rubbish"}, 400, "page token"),
        ("/api/v1/workflow/history", {"id": "x", "from": -1}, 400, "from"),
        ("/api/v1/nothing", {}, 404, "nothing at this address"),
    ],
)
def test_what_cannot_be_asked_is_said_clearly(
    caller: Caller, path: str, params: dict[str, object], status: int, says: str
) -> None:
    answer = caller.get(path, **params)

    assert answer.status_code == status, answer.text
    assert says in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"workflow_id": "x"}, "workflow_type"),
        ({"workflow_id": "", "workflow_type": "T", "task_queue": TASK_QUEUE}, "workflow id"),
        ({"workflow_id": "x" * 5000, "workflow_type": "T", "task_queue": TASK_QUEUE}, "id"),
        (
            {"workflow_id": "x", "workflow_type": "T", "task_queue": TASK_QUEUE, "inptu": []},
            "inptu",
        ),
        ({"workflow_id": "x", "workflow_type": "T", "task_queue": "../../etc"}, "../../etc"),
    ],
)
def test_a_start_that_is_wrong_starts_nothing(
    caller: Caller, body: dict[str, object], says: str
) -> None:
    before = caller.get("/api/v1/workflows/count").json()

    answer = caller.post("/api/v1/workflows", body)

    assert 400 <= answer.status_code < 500
    assert says in answer.json()["message"]
    assert caller.get("/api/v1/workflows/count").json() == before


def test_a_token_made_of_air_is_refused_however_large_it_opens(caller: Caller) -> None:
    import zlib

    bomb = base64.urlsafe_b64encode(zlib.compress(b"\x00" * 20_000_000)).decode()

    answer = caller.get("/api/v1/workflows", page=bomb)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


def test_openapi_describes_every_endpoint_with_its_shapes(caller: Caller) -> None:
    described = caller.get("/api/v1/openapi.json").json()

    for row in ENDPOINTS:
        operation = described["paths"][row.path][row.method.lower()]
        assert operation["operationId"] == row.name
        content = operation["responses"][str(row.status)]["content"]
        (media,) = content.values()
        assert media["schema"]["$ref"].rpartition("/")[2] in described["components"]["schemas"]
    assert "Problem" in described["components"]["schemas"]
    assert msgspec.json.encode(described)
