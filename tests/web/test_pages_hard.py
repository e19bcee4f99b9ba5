"""The pages when it is hard: huge runs, restarts, stale pages, keys only, small screens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.history import write_history
from perdure._assembly import open_log
from perdure._gateway.serve import serving
from perdure.common import RetryPolicy
from perdure_topics.task_queue_topics import create_topics
from perdure_views.gateway.principals import Register, TokenList
from perdure_views.gateway.settings import Settings
from tests.web.conftest import Window
from tests.web.shop import HOUR_S, TASK_QUEUE
from tests.web.site import Caller, Site

pytestmark = [pytest.mark.browser, pytest.mark.embedded]
STEPS = 25_000
# What reaches beyond the window, itself or by its parents scrolling nowhere.
OVERHANGING = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => `${one.tagName}.${one.className}`)"""


@pytest.fixture
def long_site(tmp_path: Path) -> Iterator[Site]:
    """An engine on a log that holds one run of fifty thousand events."""
    log, close = open_log(f"file:{tmp_path}")
    create_topics(log, "default", TASK_QUEUE, partitions=1)
    write_history(log, "default", TASK_QUEUE, range(STEPS), steps=STEPS)
    close()
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_run_of_fifty_thousand_events_is_drawn_as_far_as_it_is_looked_at(
    long_site: Site, browser: Browser
) -> None:
    context = browser.new_context(base_url=long_site.url, viewport={"width": 1280, "height": 900})
    page = context.new_page()

    page.goto("/run?id=ticker-0")
    history = page.get_by_role("tab", name="History")
    expect(history).to_contain_text(str(2 * STEPS), timeout=60_000)
    expect(page.get_by_role("listitem", name=re.compile(f"^timer {STEPS - 1}, "))).to_have_count(0)
    # The result stands in the last of all events.
    expect(page.get_by_text("not yet")).to_have_count(0, timeout=60_000)
    expect(page.get_by_text("none", exact=True)).to_have_count(0, timeout=60_000)
    lanes = page.get_by_role("list", name="timeline")
    lanes.focus()
    page.keyboard.press("End")

    last = page.get_by_role("listitem", name=re.compile(f"^timer {STEPS - 1}, "))
    expect(last).to_be_visible(timeout=60_000)
    assert page.locator(".lane").count() < 60
    page.get_by_role("tab", name="History").click()
    page.get_by_role("button", name=f"all {2 * STEPS} events").click()
    assert page.locator(".event").count() < 60
    context.close()


def test_a_page_outlives_its_gateway(site: Site, window: Window) -> None:
    page = window.page
    site.start("Sleeping", HOUR_S, id="hard-restart")
    first, second = AsyncExitStack(), AsyncExitStack()
    url = site.run(first.enter_async_context(serving(site.client, Settings(port=0))))
    port = int(url.rpartition(":")[2])

    page.goto(f"{url}/run?id=hard-restart")
    expect(page.get_by_text("live", exact=True)).to_be_visible()
    site.run(first.aclose())
    expect(page.get_by_text("not connected")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    site.run(second.enter_async_context(serving(site.client, Settings(port=port))))
    expect(page.get_by_text("live", exact=True)).to_be_visible(timeout=20_000)
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Terminate").click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    expect(page.get_by_role("heading").get_by_text("terminated")).to_be_visible()

    page.goto("about:blank")
    site.run(second.aclose())
    # What a browser logs of connections that were refused, and of the token of before.
    assert all(re.search("ERR_|403", wrong) for wrong in window.wrongs)
    window.wrongs.clear()


def test_a_stale_dialog_changes_nothing_and_says_so(
    site: Site, caller: Caller, window: Window
) -> None:
    site.start("Sleeping", HOUR_S, id="hard-stale")
    page = window.page
    page.goto("/run?id=hard-stale")
    page.get_by_role("button", name="Terminate").click()

    caller.post("/api/v1/workflow/terminate", {"workflow_id": "hard-stale", "reason": "first"})
    page.get_by_label("Reason").fill("second")
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()

    expect(page.get_by_role("heading").get_by_text("terminated")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("hard-stale")
    events = caller.get("/api/v1/workflow/history", id="hard-stale").json()["events"]
    reasons = [one["attributes"]["reason"] for one in events if one["type"].endswith("Terminated")]
    assert reasons == ["first"]
    window.wrongs.clear()


def test_all_is_reached_by_keys(site: Site, window: Window) -> None:
    site.execute("Greeting", "ada", id="hard-keys")
    page = window.page

    page.goto("/")
    expect(page.get_by_role("link", name="hard-keys")).to_be_visible()
    page.keyboard.press("t")
    expect(page.get_by_role("heading", name="Task queues")).to_be_visible()
    page.keyboard.press("w")
    expect(page.get_by_role("link", name="hard-keys")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tab", name="Timeline")).to_be_visible()
    page.keyboard.press("2")
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.type("hard-keys")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name=re.compile("hard-keys"))).to_be_visible()


@pytest.mark.parametrize(
    "path", ["/", "/run?id=hard-narrow", "/schedules", "/health", "/task-queues", "/start"]
)
def test_nothing_hangs_over_a_small_screen(site: Site, window: Window, path: str) -> None:
    if path.startswith("/run"):
        site.start("Refusing", "a long word: " + "x" * 300, id="hard-narrow")
    page = window.page
    page.set_viewport_size({"width": 360, "height": 740})

    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    assert page.evaluate(OVERHANGING) == []


def test_the_widest_rows_stay_on_a_small_screen(site: Site, window: Window) -> None:
    """Runs that last for years, carried on as others, tried again, with ids of one long word."""
    word = "hard-wide-" + "w" * 80
    again = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2)
    site.start("Sleeping", HOUR_S, id=word)
    rolled = site.run(
        site.client.start_workflow(
            "Rolling", 1, id="hard-wide-roll", task_queue=TASK_QUEUE, retry_policy=again
        )
    )
    assert site.run(rolled.result()) == "rolled"
    page = window.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.clock.set_fixed_time(datetime.now(UTC) + timedelta(days=1_234, hours=5))

    page.goto("/workflows?id=hard-wide")
    for text in ("continued as new", "attempt 2", "1234 d 5 h", "1234 d ago"):
        expect(page.get_by_text(text).first).to_be_visible()

    assert page.evaluate(OVERHANGING) == []


def test_theme_and_clock_are_kept(site: Site, window: Window) -> None:
    site.execute("Greeting", "ada", id="hard-clock")
    page = window.page
    page.goto("/run?id=hard-clock")

    page.get_by_label("preferences").click()
    page.get_by_role("button", name="dark").click()
    page.get_by_role("button", name="UTC").click()
    page.reload()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator(".summary time").first).to_have_text(re.compile(r"\d\dZ$"))


def test_whoever_may_only_read_is_offered_nothing_else(site: Site, browser: Browser) -> None:
    site.start("Sleeping", HOUR_S, id="hard-reader")
    tokens = TokenList.of_text("read rita reader-token-0123456789", where="here")
    url = site.serve(Settings(port=0, register=Register([tokens])))
    context = browser.new_context(base_url=url)
    page = context.new_page()

    page.goto("/run?id=hard-reader")
    page.get_by_label("Token").fill("wrong-token-0123456789")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("nobody has this token")
    page.get_by_label("Token").fill("reader-token-0123456789")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("heading", name=re.compile("hard-reader"))).to_be_visible()
    expect(page.get_by_role("button", name="Terminate")).to_have_count(0)
    page.get_by_label("preferences").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    context.close()


def test_pages_ask_only_their_own_gateway(site: Site, window: Window) -> None:
    site.execute("Greeting", "ada", id="hard-offline")
    page = window.page

    for path in ("/", "/run?id=hard-offline", "/schedules", "/health", "/task-queues", "/start"):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()

    assert {url for url in window.asked if not url.startswith(site.url)} == set()
