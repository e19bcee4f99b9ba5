"""The pages in a real browser, against a real engine."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Window
from tests.web.shop import HOUR_S
from tests.web.site import Caller, Site

pytestmark = [pytest.mark.browser, pytest.mark.embedded]


def test_the_list_shows_a_run_and_leads_to_it(site: Site, window: Window) -> None:
    site.execute("Greeting", "ada", id="looked-at")
    page = window.page

    page.goto("/")
    row = page.get_by_role("row").filter(has_text="looked-at")
    expect(row.get_by_text("completed")).to_be_visible()
    row.get_by_role("link", name="looked-at").click()

    expect(page.get_by_role("heading", name=re.compile("looked-at"))).to_be_visible()
    assert "/run?id=looked-at" in page.url
    expect(page.get_by_role("listitem", name=re.compile("^greet, "))).to_be_visible()


def test_the_list_is_live(site: Site, window: Window) -> None:
    page = window.page
    page.goto("/workflows")
    expect(page.get_by_text("live", exact=True)).to_be_visible()

    site.start("Sleeping", HOUR_S, id="page-live")

    row = page.get_by_role("row").filter(has_text="page-live")
    expect(row.get_by_text("running")).to_be_visible()
    site.run(site.client.get_workflow_handle("page-live").terminate())
    expect(row.get_by_text("terminated")).to_be_visible()


def test_a_run_grows_before_ones_eyes(site: Site, window: Window) -> None:
    page = window.page
    site.start("Stumbling", 3, 0.4, id="page-grows")

    page.goto("/run?id=page-grows&tab=history")
    expect(page.get_by_text("Workflow completed")).to_be_visible()
    page.get_by_role("button", name=re.compile("all .* events")).click()

    expect(page.get_by_text("Activity retry scheduled")).to_have_count(3)


def test_an_event_opened_shows_where_it_stands_and_which_line_asked(
    site: Site, window: Window
) -> None:
    site.execute("Greeting", "ada", id="page-where")
    page = window.page

    page.goto("/run?id=page-where&tab=history&at=event+2")
    page.get_by_role("button", name=re.compile("all .* events")).click()
    details = page.get_by_role("complementary", name="details")

    expect(details.get_by_text(re.compile(r"default\.shop\.events-\d+-\d+"))).to_be_visible()
    expect(details.get_by_text(re.compile(r"tests/web/shop\.py:\d+"))).to_be_visible()


def test_a_run_is_cancelled_and_terminated_with_a_reason(
    site: Site, caller: Caller, window: Window
) -> None:
    site.start("Sleeping", HOUR_S, id="page-end")
    page = window.page

    page.goto("/run?id=page-end")
    page.get_by_role("button", name="Terminate").click()
    page.get_by_label("Reason").fill("a <b>bold</b> reason")
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    expect(page.get_by_role("heading").get_by_text("terminated")).to_be_visible()

    ended = caller.get("/api/v1/workflow/history", id="page-end").json()["events"][-1]
    assert ended["attributes"]["reason"] == "a <b>bold</b> reason"


def test_a_workflow_is_started_by_the_form(window: Window) -> None:
    page = window.page

    page.goto("/start")
    page.get_by_role("main").get_by_label("Workflow id").fill("page-form")
    page.get_by_label("Type").fill("Greeting")
    page.get_by_label("Arguments").fill('"grace"')
    page.get_by_role("button", name="Start", exact=True).click()

    expect(page.get_by_role("heading", name=re.compile("page-form"))).to_be_visible()
    expect(page.get_by_text('"Hello, grace!"')).to_be_visible()


def test_a_parent_leads_to_its_child_and_back(site: Site, window: Window) -> None:
    site.execute("Family", "page-child", id="page-parent")
    page = window.page

    page.goto("/run?id=page-parent")
    expect(page.get_by_role("listitem", name=re.compile("^page-child, "))).to_be_visible()
    page.get_by_role("tab", name="Relationships").click()
    page.get_by_role("link", name="page-child").click()
    expect(page.get_by_role("heading", name=re.compile("page-child"))).to_be_visible()
    page.get_by_role("tab", name="Relationships").click()
    page.get_by_role("link", name="page-parent").first.click()

    expect(page.get_by_role("heading", name=re.compile("page-parent"))).to_be_visible()


def test_hostile_text_is_only_ever_text(site: Site, caller: Caller, window: Window) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    body = {
        "workflow_id": f"page-{attack}",
        "workflow_type": "Refusing",
        "task_queue": "shop",
        "input": [attack],
        "memo": {attack: attack},
    }
    assert caller.post("/api/v1/workflows", body).status_code == 201
    caller.get("/api/v1/workflow/result", id=f"page-{attack}", wait=10)
    page = window.page

    page.goto("/workflows")
    page.get_by_role("link", name=f"page-{attack}").click()
    for tab in ("Timeline", "History", "Pending", "Input and result", "Relationships"):
        page.get_by_role("tab", name=tab).click()

    expect(page.get_by_role("heading", name=re.compile("page-<img"))).to_be_visible()
    assert page.title().endswith(" · Perdure")
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
