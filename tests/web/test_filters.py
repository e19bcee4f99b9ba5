"""The list's filters in a real browser: chips, typed ones, errors, saved views, addresses."""

from __future__ import annotations

from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.conftest import Window
from tests.web.shop import HOUR_S
from tests.web.site import Site

pytestmark = [pytest.mark.browser, pytest.mark.embedded]


@pytest.fixture(scope="module", autouse=True)
def _runs(site: Site) -> None:
    """One of each: done, refused, running."""
    site.execute("Greeting", "ada", id="filter-done")
    site.execute("Greeting", "bo'b", id="filter-o'clock")
    with pytest.raises(Exception, match="failed"):
        site.execute("Refusing", "no", id="filter-refused")
    site.start("Sleeping", HOUR_S, id="filter-runs")


def rows(page: Page) -> Locator:
    return page.locator("table.runs tbody tr")


def expect_ids(page: Page, *ids: str) -> None:
    expect(page.locator(".row-link")).to_have_text(list(ids))


def chip(page: Page, group: str, name: str) -> Locator:
    return page.get_by_role("group", name=group).get_by_role("button", name=name)


def test_chips_of_status_and_type_narrow_the_list_and_are_taken_away(window: Window) -> None:
    page = window.page
    page.goto("/workflows?id=filter-")
    expect(rows(page)).to_have_count(4)

    chip(page, "status", "failed").click()
    expect_ids(page, "filter-refused")
    chip(page, "status", "completed").click()
    expect_ids(page, "filter-o'clock", "filter-done")
    chip(page, "status", "all").click()
    expect(rows(page)).to_have_count(4)
    page.get_by_label("workflow type").fill("Sleeping")
    page.get_by_role("button", name="Filter", exact=True).click()
    expect_ids(page, "filter-runs")
    chip(page, "status", "failed").click()
    expect(page.get_by_text("No workflow fits.")).to_be_visible()

    chip(page, "chosen", "type").click()
    expect_ids(page, "filter-refused")
    page.go_back()
    expect(page.get_by_text("No workflow fits.")).to_be_visible()


def test_a_typed_filter_finds_what_it_says_and_its_address_can_be_shared(window: Window) -> None:
    page = window.page
    page.goto("/workflows")
    expect(rows(page).first).to_be_visible()

    page.keyboard.press("/")
    page.keyboard.type("WorkflowId IN ('filter-done', 'filter-o''clock') ORDER BY WorkflowId")
    page.keyboard.press("Enter")
    expect_ids(page, "filter-done", "filter-o'clock")
    given = parse_qs(urlsplit(page.url).query)
    other = page.context.new_page()
    other.goto(page.url)

    assert given["query"] == [
        "WorkflowId IN ('filter-done', 'filter-o''clock') ORDER BY WorkflowId"
    ]
    expect_ids(other, "filter-done", "filter-o'clock")
    expect(other.get_by_label("query")).to_have_value(given["query"][0])


def test_chips_and_a_typed_filter_are_taken_together(window: Window) -> None:
    page = window.page
    page.goto("/workflows?id=filter-&status=completed")
    expect_ids(page, "filter-o'clock", "filter-done")

    page.get_by_label("query").fill("WorkflowId = 'filter-done' OR WorkflowType = 'Refusing'")
    page.keyboard.press("Enter")
    expect_ids(page, "filter-done")
    page.get_by_label("query").fill("ORDER BY WorkflowId ASC")
    page.keyboard.press("Enter")
    expect_ids(page, "filter-done", "filter-o'clock")
    page.get_by_label("query").fill("WorkflowId != ' order by ' order by WorkflowId")
    page.keyboard.press("Enter")
    expect(page.get_by_text("' order by ' order by WorkflowId")).to_be_visible()
    expect_ids(page, "filter-done", "filter-o'clock")


def test_hostile_ids_and_types_are_only_ever_text(site: Site, window: Window) -> None:
    name = "filter\\' OR WorkflowId != '"
    site.start("Sleeping", HOUR_S, id=name)
    page = window.page

    page.goto(f"/workflows?{urlencode({'id': name})}")
    expect_ids(page, name)
    page.goto(f"/workflows?{urlencode({'type': name})}")
    expect(page.get_by_text("No workflow fits.")).to_be_visible()


WRONG = {
    "WorkflowType = ": "column 15:",
    "WorkflowTyp = 'x'": "column 1: there is no field WorkflowTyp",
    "StartTime > 'yesterday'": "yesterday",
    "ExecutionStatus = 'Sleeping'": "Sleeping",
}


def test_a_wrong_filter_says_what_is_wrong_and_a_right_one_mends_it(window: Window) -> None:
    page = window.page
    page.goto("/workflows?id=filter-")
    expect(rows(page)).to_have_count(4)

    for typed, says in WRONG.items():
        page.get_by_label("query").fill(typed)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text(says)
    page.get_by_label("query").fill("WorkflowId = 'filter-runs'")
    page.keyboard.press("Enter")
    expect_ids(page, "filter-runs")
    expect(page.get_by_role("alert")).to_have_count(0)
    # What a browser logs of the answers 400.
    assert all("400" in wrong for wrong in window.wrongs)
    window.wrongs.clear()


def test_a_view_is_saved_opened_and_forgotten(window: Window) -> None:
    page = window.page
    page.on("dialog", lambda dialog: dialog.accept("refused <b>ones</b>"))
    page.goto("/workflows?id=filter-&status=failed")
    expect_ids(page, "filter-refused")

    page.locator("summary", has_text="Views").click()
    page.get_by_role("button", name="Save this view").click()
    page.goto("/")
    page.locator("summary", has_text="Views").click()
    page.get_by_role("link", name="refused <b>ones</b>").click()

    expect_ids(page, "filter-refused")
    expect(chip(page, "status", "failed")).to_have_attribute("aria-pressed", "true")
    page.locator("summary", has_text="Views").click()
    page.get_by_role("button", name="forget refused").click()
    page.reload()
    page.locator("summary", has_text="Views").click()
    expect(page.get_by_text("No saved view yet.")).to_be_visible()
