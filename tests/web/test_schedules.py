"""Schedules through the gateway: its API, a client before it, and the page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from perdure._gateway.schedule_backend import spec_words
from perdure.client import (
    Client,
    RPCError,
    RPCStatusCode,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)
from perdure_views.gateway.principals import Register, TokenList
from perdure_views.gateway.settings import Settings
from tests.web.conftest import Window
from tests.web.shop import HOUR_S, TASK_QUEUE
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded
READER = "reader-token-0123456789"
OPERATOR = "operator-token-0123456789"
RARELY = "0 0 1 1 *"


def wanted(id: str, *args: Any, **more: Any) -> dict[str, Any]:
    """A schedule that acts at new year, and when it is told to."""
    return {
        "schedule_id": id,
        "workflow_type": "Greeting",
        "workflow_id": f"run-of-{id}",
        "task_queue": TASK_QUEUE,
        "input": list(args) or ["ada"],
        "cron_expressions": [RARELY],
        **more,
    }


def until(caller: Caller, id: str, field: str, number: int) -> dict[str, Any]:
    """A schedule once it has so many of something; the test's own time bounds it."""
    while True:
        found: dict[str, Any] = caller.get("/api/v1/schedule", id=id).json()
        value = found[field]
        if (value if isinstance(value, int) else len(value)) >= number:
            return found


@pytest.fixture(scope="module")
def guarded(site: Site) -> str:
    """A gateway that asks for tokens."""
    tokens = TokenList.of_text(f"read rita {READER}\noperate oskar {OPERATOR}", where="here")
    return site.serve(Settings(port=0, register=Register([tokens])))


@pytest.fixture(scope="module")
def operator(guarded: str) -> Iterator[Caller]:
    made = Caller(guarded, headers={"authorization": f"Bearer {OPERATOR}"})
    yield made
    made.close()


def test_a_schedule_is_made_shown_told_and_deleted(caller: Caller) -> None:
    made = caller.post("/api/v1/schedules", wanted("api-sched", note="for the tests"))
    twice = caller.post("/api/v1/schedules", wanted("api-sched"))
    for act, more in (("trigger", {}), ("pause", {"note": "inventory"})):
        told = caller.post(f"/api/v1/schedule/{act}", {"schedule_id": "api-sched", **more})
        assert told.status_code == 200, told.text
    found = until(caller, "api-sched", "recent", 1)
    listed = caller.get("/api/v1/schedules", begins="api-sched").json()
    result = caller.get("/api/v1/workflow/result", id=found["recent"][0]["workflow_id"], wait=10)
    gone = caller.post("/api/v1/schedule/delete", {"schedule_id": "api-sched"})
    after = caller.post("/api/v1/schedule/trigger", {"schedule_id": "api-sched"})

    assert (made.status_code, made.json()) == (201, {"schedule_id": "api-sched"})
    assert (twice.status_code, twice.json()["code"]) == (409, "already_exists")
    assert (found["paused"], found["note"], found["actions"]) == (True, "inventory", 1)
    assert found["when"] == [f"cron {RARELY}"]
    assert found["input"][0]["value"] == "ada"
    assert found["next_ms"] == sorted(found["next_ms"])
    assert found["next_ms"][0] > found["created_ms"]
    assert [one["schedule_id"] for one in listed["schedules"]] == ["api-sched"]
    assert not listed["more"]
    assert result.json()["result"]["value"] == "Hello, ada!"
    assert gone.status_code == 200
    assert (after.status_code, after.json()["code"]) == (404, "not_found")
    assert "no schedule 'api-sched'" in after.json()["message"]


def test_what_was_left_out_is_told_with_its_reason(caller: Caller) -> None:
    body = wanted("api-skips", HOUR_S, workflow_type="Sleeping")
    caller.post("/api/v1/schedules", body)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    span = {
        "from_ms": int(start.timestamp() * 1000),
        "to_ms": int((start + timedelta(days=3 * 365)).timestamp() * 1000),
    }

    filled = caller.post("/api/v1/schedule/backfill", {"schedule_id": "api-skips", **span})
    found = until(caller, "api-skips", "skipped", 2)

    assert filled.status_code == 200, filled.text
    assert len(until(caller, "api-skips", "running", 1)["running"]) == 1
    reasons = [one["reason"] for one in found["recent"] if not one["workflow_id"]]
    assert reasons
    assert all("the one before still ran" in reason for reason in reasons)
    caller.post("/api/v1/schedule/delete", {"schedule_id": "api-skips"})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cron_expressions": ["61 * * * *"]}, "cron_expressions"),
        ({"cron_expressions": []}, "says no time"),
        ({"cron_expressions": [], "every_ms": [10]}, "at least a second"),
        ({"overlap": "maybe"}, "overlap"),
        ({"schedule_id": ""}, "schedule_id"),
        ({"time_zone": "Mars/Olympus"}, "Mars"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused(
    caller: Caller, change: dict[str, Any], says: str
) -> None:
    answer = caller.post("/api/v1/schedules", {**wanted("api-bad"), **change})

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert says in answer.json()["message"]


def test_only_operators_tell_schedules_and_their_names_are_written_down(
    guarded: str, operator: Caller
) -> None:
    assert operator.post("/api/v1/schedules", wanted("api-who-sched")).status_code == 201
    reader = Caller(guarded, headers={"authorization": f"Bearer {READER}"})
    refused = [
        reader.post(f"/api/v1/schedule/{act}", {"schedule_id": "api-who-sched", **more})
        for act, more in (
            ("trigger", {}),
            ("pause", {}),
            ("unpause", {}),
            ("backfill", {"from_ms": 0, "to_ms": 1}),
            ("delete", {}),
        )
    ]
    seen = reader.get("/api/v1/schedule", id="api-who-sched")
    reader.close()
    operator.post("/api/v1/schedule/pause", {"schedule_id": "api-who-sched"})
    events = operator.get("/api/v1/workflow/history", id="perdure-schedule:api-who-sched").json()[
        "events"
    ]
    operator.post("/api/v1/schedule/delete", {"schedule_id": "api-who-sched"})

    assert {answer.status_code for answer in refused} == {403}
    assert seen.json()["schedule_id"] == "api-who-sched"
    updates = [one for one in events if one["type"] == "WorkflowUpdateAccepted"]
    assert [one["attributes"]["identity"] for one in updates] == ["oskar"]
    assert events[0]["attributes"]["identity"] == "oskar"


def test_a_foreign_page_tells_a_schedule_nothing(caller: Caller) -> None:
    answer = caller.http.post("/api/v1/schedule/delete", json={"schedule_id": "any"})

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign")


async def test_a_client_makes_and_tells_schedules_through_a_gateway(guarded: str) -> None:
    action = ScheduleActionStartWorkflow("Greeting", "ada", id="through", task_queue=TASK_QUEUE)
    schedule = Schedule(action=action, spec=ScheduleSpec(cron_expressions=[RARELY]))
    client = await Client.connect(guarded, api_key=OPERATOR, identity="me")
    reader = await Client.connect(guarded, api_key=READER)
    try:
        handle = await client.create_schedule("through", schedule, trigger_immediately=True)
        with pytest.raises(ScheduleAlreadyRunningError):
            await client.create_schedule("through", schedule)
        await handle.pause(note="enough")
        start = datetime(2026, 1, 1, tzinfo=UTC)
        await handle.backfill(ScheduleBackfill(start, start))
        described = await reader.get_schedule_handle("through").describe()
        listed = [one.id async for one in await reader.list_schedules()]
        with pytest.raises(RPCError) as refused:
            await reader.get_schedule_handle("through").unpause()
        await handle.delete()
        with pytest.raises(RPCError) as gone:
            await handle.describe()
    finally:
        await client.close()
        await reader.close()

    assert (described.schedule.state.paused, described.schedule.state.note) == (True, "enough")
    assert described.info.num_actions >= 1
    assert "through" in listed
    assert refused.value.status is RPCStatusCode.PERMISSION_DENIED
    assert gone.value.status is RPCStatusCode.NOT_FOUND


def test_when_a_schedule_acts_is_said_in_words() -> None:
    spec = ScheduleSpec(
        calendars=[
            ScheduleCalendarSpec(
                hour=[ScheduleRange(9, 17, 2)],
                day_of_week=[ScheduleRange(1, 5)],
                comment="office hours",
            ),
            ScheduleCalendarSpec(),
        ],
        intervals=[ScheduleIntervalSpec(timedelta(hours=25), timedelta(seconds=90))],
        cron_expressions=["@daily"],
        skip=[ScheduleCalendarSpec(month=[ScheduleRange(12)], day_of_month=[ScheduleRange(25)])],
    )

    assert list(spec_words(spec)) == [
        "cron @daily",
        "every 1 d 1 h, 1 min 30 s later",
        "at day of week 1-5, hour 9-17/2 (office hours)",
        "at midnight",
        "not at month 12, day of month 25",
    ]


@pytest.mark.browser
def test_a_schedule_is_run_from_its_page(caller: Caller, window: Window) -> None:
    caller.post("/api/v1/schedules", wanted("page-sched", note="nightly <b>report</b>"))
    page = window.page

    page.goto("/schedules?begins=page-sched")
    row = page.get_by_role("row").filter(has_text="page-sched")
    expect(row.get_by_text("active")).to_be_visible()
    expect(row.get_by_text(f"cron {RARELY}")).to_be_visible()
    row.get_by_role("link", name="page-sched", exact=True).click()
    expect(page.get_by_role("heading", name=re.compile("page-sched"))).to_be_visible()
    expect(page.get_by_role("region", name="next actions").get_by_role("listitem")).to_have_count(
        10
    )

    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Reason").fill("stock-taking")
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status").filter(has_text="stock-taking")).to_be_visible()
    page.get_by_role("button", name="Trigger").click()
    page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
    expect(page.get_by_role("cell").get_by_role("link", name="run-of-page-sched-")).to_be_visible()
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading").get_by_text("active")).to_be_visible()

    page.get_by_role("button", name="Backfill").click()
    page.get_by_label("From").fill("2025-12-01T00:00:00")
    page.get_by_label("To", exact=True).fill("2026-02-01T00:00:00")
    page.get_by_role("dialog").get_by_role("combobox").select_option("allow_all")
    page.get_by_role("dialog").get_by_role("button", name="Backfill").click()
    filled = page.get_by_role("cell").get_by_role("link", name="run-of-page-sched-2026-01-01")
    expect(filled).to_be_visible()

    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Schedules")).to_be_visible()
    assert caller.get("/api/v1/schedule", id="page-sched").status_code == 404


@pytest.mark.browser
def test_a_stale_page_of_a_deleted_schedule_says_so(caller: Caller, window: Window) -> None:
    caller.post("/api/v1/schedules", wanted("page-stale"))
    page = window.page
    page.goto("/schedule?id=page-stale")
    page.get_by_role("button", name="Trigger").click()

    caller.post("/api/v1/schedule/delete", {"schedule_id": "page-stale"})
    expect(page.get_by_role("alert").first).to_contain_text("no schedule 'page-stale'")
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    # What a browser logs of the answer 404.
    assert all("404" in wrong for wrong in window.wrongs)
    window.wrongs.clear()


@pytest.mark.browser
def test_skips_are_seen_and_whoever_may_only_read_is_offered_nothing(
    guarded: str, operator: Caller, browser: Browser
) -> None:
    body = wanted("page-skips", HOUR_S, workflow_type="Sleeping")
    operator.post("/api/v1/schedules", body)
    for _ in range(2):
        operator.post("/api/v1/schedule/trigger", {"schedule_id": "page-skips"})
    until(operator, "page-skips", "skipped", 1)
    context = browser.new_context(base_url=guarded, viewport={"width": 360, "height": 740})
    page = context.new_page()

    page.goto("/schedule?id=page-skips")
    page.get_by_label("Token").fill(READER)
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_text("skipped: the one before still ran")).to_be_visible()
    expect(page.get_by_role("button", name="Trigger")).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()
    operator.post("/api/v1/schedule/delete", {"schedule_id": "page-skips"})
