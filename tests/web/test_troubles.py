"""Trouble is on the first page: what fails, what nobody takes, why runs ended, and how many."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from perdure.client import WorkflowFailureError
from tests.web.conftest import Window
from tests.web.shop import HOUR_S
from tests.web.site import Caller, Site

pytestmark = [pytest.mark.browser, pytest.mark.embedded, pytest.mark.timeout(90)]


def test_a_run_whose_activity_fails_says_so_in_the_list_and_opens_on_it(
    site: Site, window: Window
) -> None:
    page = window.page
    site.start("Stumbling", 1000, float(HOUR_S), id="trouble-retries")
    site.start("Sleeping", HOUR_S, id="trouble-sleeps")

    page.goto("/workflows?id=trouble-")

    row = page.get_by_role("row", name="trouble-retries")
    expect(row).to_contain_text("stumble: ConnectionError: the bank did not answer (1), attempt 1")
    expect(row).to_contain_text("next in 59 min")
    page.get_by_role("button", name="retrying").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("button", name="retrying 1")).to_be_visible()
    page.get_by_role("link", name="trouble-retries").click()
    now = page.locator(".box.why")
    expect(now).to_contain_text("stumble failed, attempt 1")
    now.get_by_role("button", name="Retry now").click()
    expect(now).to_contain_text("attempt 2")


def test_a_run_that_failed_says_why_and_a_task_that_nobody_takes_where(
    site: Site, window: Window
) -> None:
    page = window.page
    with pytest.raises(WorkflowFailureError):
        site.execute("Refusing", "the card was declined", id="why-refused")
    site.start("Lonely", id="why-lonely")

    page.goto("/workflows?id=why-")

    refused = page.get_by_role("row", name="why-refused")
    expect(refused).to_contain_text("Refused: the card was declined")
    lonely = page.get_by_role("row", name="why-lonely")
    expect(lonely).to_contain_text("greet: there are no topics of task queue 'nobody-is-here'")
    expect(page.get_by_role("button", name="failed 1")).to_be_visible()
    expect(page.get_by_role("button", name="running 1")).to_be_visible()
    page.get_by_role("button", name="no worker").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.goto("/workflows?id=why-&status=failed")
    page.get_by_role("link", name="why-refused").click()
    expect(page.locator(".box.why")).to_contain_text("the card was declined")


def test_a_text_without_an_operator_finds_ids(site: Site, window: Window) -> None:
    page = window.page
    site.start("Sleeping", HOUR_S, id="plain-1")

    page.goto("/workflows")
    page.get_by_role("textbox", name="query").fill("plain")
    page.keyboard.press("Enter")

    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="plain-1")).to_be_visible()
    expect(page.locator(".box.problem")).to_have_count(0)


def test_what_is_counted_follows_what_happens(site: Site, caller: Caller) -> None:
    site.start("Stumbling", 1000, float(HOUR_S), id="count-retries")
    query = "Retrying = true AND WorkflowId = 'count-retries'"

    async def count(wanted: str) -> int:
        return (await site.client.count_workflows(wanted)).count

    handle = site.client.get_workflow_handle("count-retries")

    async def has_failed() -> bool:
        return any(one.last_failure for one in (await handle.describe()).pending_activities)

    while not site.run(has_failed()):
        pass
    assert site.run(count(query)) == 1
    assert site.run(count(query.replace("true", "false"))) == 0
    assert site.run(count("HasPendingFailures = true AND WorkflowId = 'count-retries'")) == 1
    site.run(handle.terminate())
    assert site.run(count(query)) == 0
    found = caller.get("/api/v1/workflows", query="Retrying > true")
    assert found.status_code == 400
    assert "Retrying has no order" in found.json()["message"]


def test_what_turns_text_round_is_written_out(site: Site, window: Window) -> None:
    page = window.page
    site.execute(
        "Echoing", {"a": "\u202eevil\u200b", "b": "\U0001f469\u200d\U0001f4bb"}, id="turned-round"
    )

    page.goto("/run?id=turned-round&tab=values")

    value = page.locator(".value pre").first
    expect(value).to_contain_text("\\u202eevil\\u200b")
    expect(value).to_contain_text("\U0001f469\u200d\U0001f4bb")


def test_titles_tell_tabs_apart_and_an_unknown_tab_is_the_first(site: Site, window: Window) -> None:
    page = window.page
    site.start("Sleeping", HOUR_S, id="titled")

    page.goto("/run?id=titled&tab=relationships")

    expect(page).to_have_title("titled · Perdure")
    expect(page.get_by_role("list", name="timeline")).to_be_visible()
    page.get_by_role("link", name="Task queues", exact=True).click()
    expect(page).to_have_title("Task queues · Perdure")


def test_runs_that_failed_alike_are_folded_until_they_are_asked_for(
    site: Site, window: Window
) -> None:
    page = window.page
    for number in range(5):
        with pytest.raises(WorkflowFailureError):
            site.execute("Refusing", f"no stock in store {number}", id=f"alike-{number}")
    with pytest.raises(WorkflowFailureError):
        site.execute("Refusing", "the card was declined", id="alike-not")

    page.goto("/workflows?id=alike-")

    expect(page.locator(".row-link")).to_have_count(2)
    page.get_by_role("button", name="4 more failed for the same cause").click()
    expect(page.locator(".row-link")).to_have_count(6)
    expect(page.get_by_role("button", name="for the same cause")).to_have_count(0)
