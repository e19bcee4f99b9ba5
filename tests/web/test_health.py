"""Health: what the gateway reads of the events itself, through its API and in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from benchmarks.history import write_runs
from perdure._assembly import open_log
from perdure_schemas.findings import Finding
from perdure_topics.names import topic_name
from perdure_topics.task_queue_topics import create_topics
from perdure_views.gateway.health import newest
from perdure_views.gateway.settings import Settings, SettingsError
from perdure_views.insights.cursor import Following, Noticed
from perdure_views.insights.snapshot import read_insights
from perdure_views.insights.windows import summary
from tests.log_rig import collect_reports, no_bell, wait_for
from tests.web.conftest import Window
from tests.web.shop import TASK_QUEUE
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded
NOW_MS = 1_790_000_000_000


def until(caller: Caller, holds: Callable[[Any], Any], **params: Any) -> Any:
    """The health once it is so; the test's own time bounds it."""
    while True:
        found = caller.get("/api/v1/health", **params)
        assert found.status_code == 200, found.text
        if found.json()["read"] == 1 and holds(found.json()):
            return found.json()


def of(health: Any, kind: str, workflow_id: str = "") -> list[Any]:
    return [
        one
        for one in health["findings"]
        if one["kind"] == kind and workflow_id in ("", one["workflow_id"])
    ]


def test_what_needs_a_person_is_found_and_no_longer_holds_when_it_was_seen_to(
    site: Site, caller: Caller
) -> None:
    site.start("Buggy", id="health-blocked")
    site.start("Stumbling", 40, 0.05, id="health-retries")
    log = site.client.log
    writer = log.appender(on_ready=no_bell)
    writer.append(topic_name("commands", "default", TASK_QUEUE), 3, b"rubbish", key=b"x")
    collect_reports(writer, wait_for, 1)
    writer.close()

    found = until(
        caller,
        lambda health: (
            of(health, "blocked", "health-blocked")
            and of(health, "retrying", "health-retries")
            and of(health, "poison")
        ),
    )
    site.run(site.client.get_workflow_handle("health-blocked").terminate())
    site.run(site.client.get_workflow_handle("health-retries").result())
    after = until(
        caller,
        lambda health: (
            not any(
                one["holds"]
                for one in health["findings"]
                if one["workflow_id"] in ("health-blocked", "health-retries")
            )
        ),
    )

    (blocked,) = of(found, "blocked", "health-blocked")
    assert blocked["holds"] is True
    assert "KeyError" in blocked["message"]
    assert "terminate the run" in blocked["remedy"]
    assert "could not be taken" in of(found, "poison")[0]["message"]
    # Told at 5, 10 and 20 failures: the newest says all.
    assert len(of(after, "retrying", "health-retries")) == 1
    assert sum(one["attempts_failed"] for one in after["windows"]) >= 40


def test_figures_are_those_that_insights_print(site: Site, caller: Caller) -> None:
    for number in range(3):
        site.execute("Greeting", "ada", id=f"health-figures-{number}")
    with pytest.raises(Exception, match="failed"):
        site.execute("Refusing", "no", id="health-refused")
    log, queue = site.client.log, TASK_QUEUE
    topic = log.topic(topic_name("events", "default", queue))
    assert topic is not None

    def figures() -> Any:
        rows = read_insights(log, topic, queue, 0)[0]
        since_s = time.time() - 3600
        return [
            row
            for row in rows
            if row["workflow_type"] == "Refusing"
            and row["window_s"] == 60
            and row["start_s"] >= since_s
        ]

    names = ("start_s", "started", "closed", "failures", "attempts_failed", "p50_ms", "p99_ms")

    def picked(rows: Any) -> Any:
        return sorted(tuple(str(row[name]) for name in names) for row in rows)

    # What a look shows may be a moment old.
    shown = until(
        caller, lambda health: picked(health["windows"]) == picked(figures()), type="Refusing"
    )

    assert "Greeting" in shown["workflow_types"]
    assert sum(one["closed"].get("failed", 0) for one in shown["windows"]) >= 1


def test_unknown_queues_and_spans_are_refused(caller: Caller) -> None:
    assert caller.get("/api/v1/health", hours=25).status_code == 400
    unknown = caller.get("/api/v1/health", queue="nobody")

    assert unknown.status_code == 200
    assert "nobody" in unknown.json()["problems"][0]


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Any]:
    """A log of three thousand runs that began ten times a second."""
    log, close = open_log(f"file:{tmp_path}")
    create_topics(log, "default", TASK_QUEUE, partitions=2)
    write_runs(log, "default", TASK_QUEUE, 3_000, NOW_MS)
    yield log
    close()


def test_a_log_is_read_in_slices_and_comes_to_the_same(many: Any) -> None:
    topic = many.topic(topic_name("events", "default", TASK_QUEUE))
    whole, _ = read_insights(many, topic, TASK_QUEUE, 0)
    lean = Following(many, topic, TASK_QUEUE, findings_max=10)

    # A slice that is over before it begins only learns how much there is.
    lean.catch_up(until=0.0)
    before = lean.read
    slices = 0
    while lean.read < 1:
        lean.catch_up(until=time.monotonic() + 0.02)
        slices += 1

    assert (before, slices > 1) == (0.0, True)
    kept = summary(lean.figures())
    assert {row["start_s"] % 300 for row in kept if row["window_s"] == 300} == {0}
    assert kept == [row for row in whole if row["window_s"] == 60 or row["start_s"] % 300 == 0]


def noticed(name: str, age_s: int, holds: bool | None, kind: str = "blocked") -> Noticed:
    finding = Finding(
        finding_id=f"{kind}/{name}",
        kind=kind,
        task_queue="q",
        run_id="r",
        time_ms=NOW_MS - age_s * 1000,
        message="",
    )
    return Noticed(finding=finding, holds=holds)


def test_what_is_still_so_stands_first_and_each_thing_once() -> None:
    found = [
        noticed("over", 1, False),
        noticed("still", 9_000, True),
        noticed("just now", 60, None, "poison"),
        noticed("long ago", 9_000, None, "poison"),
        noticed("told again", 30, None),
        noticed("told again", 30, True),
        noticed("at 5", 20, True, "retrying"),
        noticed("at 10", 10, True, "retrying"),
    ]

    shown = [(one.finding.finding_id, one.holds) for one in newest(found, NOW_MS)]

    assert shown == [
        ("retrying/at 10", True),
        ("blocked/told again", True),
        ("poison/just now", None),
        ("blocked/still", True),
        ("blocked/over", False),
        ("poison/long ago", None),
    ]


def test_insights_that_do_not_answer_are_told(site: Site) -> None:
    url = site.serve(Settings(port=0, insights=((TASK_QUEUE, "http://127.0.0.1:1"),)))
    with pytest.raises(SettingsError, match="QUEUE=http"):
        Settings(insights=((TASK_QUEUE, "ftp://x"),)).check()

    health = httpx.get(f"{url}/api/v1/health", timeout=20).json()

    assert "http://127.0.0.1:1/figures gives no figures" in health["problems"][0]


@pytest.mark.browser
def test_the_health_page_shows_findings_and_charts(site: Site, window: Window) -> None:
    site.start("Buggy", id="health-page")
    for number in range(5):
        site.execute("Greeting", "ada", id=f"health-page-{number}")
    page = window.page

    page.goto("/health")
    finding = page.get_by_role("article").filter(has_text="health-page")
    expect(finding.first).to_contain_text("is blocked (error)")
    expect(finding.first).to_contain_text("Remedy")
    charts = ("Started", "Closed by outcome", "Time from start to close", "Failed attempts by type")
    for title in charts:
        expect(page.get_by_role("figure", name=title)).to_be_visible()
    closed = page.get_by_role("img", name=re.compile("^Closed by outcome: .*completed [1-9]"))
    expect(closed).to_be_visible()
    box = closed.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 40)
    expect(
        page.get_by_role("figure", name="Closed by outcome").locator(".chart-tip")
    ).to_be_visible()
    page.get_by_role("button", name="6 h").click()
    expect(page.get_by_text("By five minutes")).to_be_visible()
    page.get_by_label("workflow type").select_option("Buggy")
    expect(page.get_by_role("figure", name="Closed by outcome")).not_to_contain_text("completed")
    assert "hours=6" in page.url
    assert "type=Buggy" in page.url

    finding.get_by_role("link", name="health-page").first.click()
    expect(page.get_by_role("heading", name=re.compile("health-page"))).to_be_visible()
