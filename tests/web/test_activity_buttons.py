"""The buttons of a pending activity in a real browser: each act, two at once, and stale pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from perdure_views.gateway.principals import Register, TokenList
from perdure_views.gateway.settings import Settings
from tests.web.conftest import Window
from tests.web.site import Caller, Site

pytestmark = [pytest.mark.browser, pytest.mark.embedded]
LONG_S = 3600
ADA, BOB = "ada-token-0123456789", "bob-token-0123456789"


def pending(page: Page, id: str) -> Locator:
    """The card of the one activity that a run waits for."""
    page.goto(f"/run?id={id}&tab=pending")
    card = page.get_by_role("article").filter(has_text="stumble")
    expect(card.get_by_text("backing off")).to_be_visible()
    return card


def press(where: Page | Locator, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def confirm(page: Page, name: str, reason: str = "") -> None:
    if reason:
        page.get_by_label("Reason").fill(reason)
    press(page.get_by_role("dialog"), name)


def events(caller: Caller, id: str, kind: str) -> list[dict[str, Any]]:
    found = caller.get("/api/v1/workflow/history", id=id).json()["events"]
    return [one["attributes"] for one in found if one["type"] == kind]


def expect_ended(page: Page, status: str) -> None:
    expect(page.get_by_role("heading").get_by_text(status)).to_be_visible()


def test_an_activity_that_backs_off_is_retried_now(site: Site, window: Window) -> None:
    site.start("Stumbling", 1, LONG_S, id="act-retry")
    card = pending(window.page, "act-retry")
    expect(card).to_contain_text(re.compile(r"in (1 h 0|59) min"))

    press(card, "Retry now")

    expect_ended(window.page, "completed")
    window.page.get_by_role("tab", name="Timeline").click()
    expect(window.page.get_by_text('"answered at attempt 2"')).to_be_visible()


def test_a_paused_activity_waits_for_a_person(site: Site, caller: Caller, window: Window) -> None:
    site.start("Stumbling", 1, LONG_S, id="act-pause")
    page = window.page
    card = pending(page, "act-pause")

    press(card, "Pause")
    confirm(page, "Pause", "the bank is <b>closed</b>")
    expect(card.get_by_role("heading").get_by_text("paused")).to_be_visible()
    expect(card.get_by_role("button", name="Retry now")).to_have_count(0)
    expect(card.get_by_role("button", name="Pause", exact=True)).to_have_count(0)
    press(card, "Go on")

    expect_ended(page, "completed")
    (paused,) = events(caller, "act-pause", "ActivityPaused")
    assert (paused["reason"], paused["identity"]) == ("the bank is <b>closed</b>", "local")
    assert len(events(caller, "act-pause", "ActivityUnpaused")) == 1


def test_an_activity_starts_over_and_is_failed_for_good(
    site: Site, caller: Caller, window: Window
) -> None:
    site.start("Stumbling", 2, LONG_S, id="act-reset")
    page = window.page
    card = pending(page, "act-reset")
    press(card, "Retry now")
    attempt = card.locator("dl.facts-grid div").filter(has_text="attempt").first
    expect(attempt).to_have_text("attempt2")
    expect(card.get_by_text("backing off")).to_be_visible()

    press(card, "Reset")
    confirm(page, "Reset")
    expect(attempt).to_have_text("attempt1")
    expect(card.get_by_text("the bank did not answer (1)")).to_be_visible()
    press(card, "Fail")
    confirm(page, "Fail", "nobody will answer")

    expect_ended(page, "failed")
    assert len(events(caller, "act-reset", "ActivityReset")) == 1
    (failed,) = events(caller, "act-reset", "ActivityFailed")
    assert failed["failure"]["chain"][0]["message"] == "nobody will answer"


@pytest.fixture(scope="module")
def two(site: Site, browser: Browser) -> Iterator[tuple[Page, Page]]:
    """Two operators, each signed in by a browser of their own."""
    tokens = TokenList.of_text(f"operate ada {ADA}\noperate bob {BOB}", where="here")
    url = site.serve(Settings(port=0, register=Register([tokens])))
    pages = []
    for token in (ADA, BOB):
        page = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900}).new_page()
        page.goto("/")
        page.get_by_label("Token").fill(token)
        press(page, "Sign in")
        expect(page.get_by_role("heading", name="Workflows")).to_be_visible()
        pages.append(page)
    yield pages[0], pages[1]
    for page in pages:
        page.context.close()


def test_two_operators_at_once_do_one_thing_and_the_second_is_told(
    site: Site, caller: Caller, two: tuple[Page, Page]
) -> None:
    site.start("Stumbling", 1, LONG_S, id="act-two")
    ada, bob = two
    of_ada, of_bob = pending(ada, "act-two"), pending(bob, "act-two")
    press(of_bob, "Pause")

    press(of_ada, "Pause")
    confirm(ada, "Pause", "ada was first")
    expect(of_ada.get_by_role("heading").get_by_text("paused")).to_be_visible()
    expect(bob.get_by_role("dialog")).to_contain_text("ada paused it: ada was first")
    confirm(bob, "Pause", "bob was second")
    expect(of_bob.get_by_role("heading").get_by_text("paused")).to_be_visible()
    expect(of_bob).to_contain_text("ada was first")
    press(of_ada, "Go on")

    expect_ended(bob, "completed")
    (paused,) = events(caller, "act-two", "ActivityPaused")
    assert (paused["reason"], paused["identity"]) == ("ada was first", "ada")


def test_a_page_that_is_behind_is_told_what_became_of_it(
    site: Site, caller: Caller, two: tuple[Page, Page]
) -> None:
    site.start("Stumbling", 1, LONG_S, id="act-stale")
    ada, bob = two
    of_ada, of_bob = pending(ada, "act-stale"), pending(bob, "act-stale")
    press(of_bob, "Fail")

    press(of_ada, "Retry now")
    expect_ended(ada, "completed")
    expect(bob.get_by_role("dialog")).to_contain_text("Meanwhilethe workflow is completed")
    confirm(bob, "Fail", "too late")

    said = bob.get_by_role("dialog").get_by_role("alert")
    expect(said).to_contain_text("workflow 'act-stale' is completed already")
    assert events(caller, "act-stale", "ActivityFailed") == []
    assert len(events(caller, "act-stale", "WorkflowCompleted")) == 1
