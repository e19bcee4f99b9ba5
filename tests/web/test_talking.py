"""Signals, queries and updates over HTTP and in the pages, with a workflow that answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Window
from tests.web.shop import TASK_QUEUE
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded


def ask(caller: Caller, kind: str, id: str, name: str, *args: Any, **more: Any) -> Any:
    body = {"workflow_id": id, f"{kind}_name": name, "input": list(args), **more}
    return caller.post(f"/api/v1/workflow/{kind}", body)


def test_a_workflow_is_told_asked_and_changed(site: Site, caller: Caller) -> None:
    site.start("Counting", id="talk-1")

    told = ask(caller, "signal", "talk-1", "add", 5)
    asked = ask(caller, "query", "talk-1", "count")
    changed = ask(caller, "update", "talk-1", "double")
    ask(caller, "signal", "talk-1", "stop")
    closing = caller.get("/api/v1/workflow/result", id="talk-1", wait=10).json()
    events = caller.get("/api/v1/workflow/history", id="talk-1").json()["events"]

    assert told.status_code == 200
    assert asked.json()["result"]["value"] == 5
    assert (changed.json()["stage"], changed.json()["result"]["value"]) == ("completed", 10)
    assert closing["result"]["value"] == 10
    signaled = [one["attributes"] for one in events if one["type"] == "WorkflowSignaled"]
    assert [one["signal_name"] for one in signaled] == ["add", "stop"]
    assert {one["identity"] for one in signaled} == {"local"}


def test_a_signal_with_the_same_request_id_is_the_same_signal(site: Site, caller: Caller) -> None:
    site.start("Counting", id="talk-2")

    for _ in range(3):
        ask(caller, "signal", "talk-2", "add", 5, request_id="mine")

    assert ask(caller, "query", "talk-2", "count").json()["result"]["value"] == 5


def test_a_signal_may_wait_for_its_workflow_to_be_started(site: Site, caller: Caller) -> None:
    where = {"task_queue": TASK_QUEUE, "buffer_ms": 60_000}
    early = ask(caller, "signal", "talk-early", "add", 5, **where)
    site.start("Counting", id="talk-early")

    assert early.status_code == 200
    assert ask(caller, "query", "talk-early", "count").json()["result"]["value"] == 5


def test_what_a_workflow_refuses_is_said(site: Site, caller: Caller) -> None:
    site.start("Counting", id="talk-3")

    update = ask(caller, "update", "talk-3", "double").json()
    query = ask(caller, "query", "talk-3", "no-such-query")
    nobody = ask(caller, "signal", "talk-nobody", "add", 1)

    assert update["stage"] == "rejected"
    assert "nothing to double" in update["failure"]["chain"][0]["message"]
    assert "no-such-query" in query.text
    assert nobody.status_code == 404


@pytest.mark.browser
def test_it_is_talked_to_in_the_pages(site: Site, window: Window) -> None:
    site.start("Counting", id="talk-page")
    page = window.page

    page.goto("/run?id=talk-page&tab=talk")
    signal = page.locator("form.talk").filter(has_text="Tells the run")
    signal.get_by_label("Name").fill("add")
    signal.get_by_label("Arguments").fill("21")
    signal.get_by_role("button", name="Signal").click()
    expect(page.get_by_text("signal taken")).to_be_visible()
    update = page.locator("form.talk").filter(has_text="waits for the outcome")
    update.get_by_label("Name").fill("double")
    update.get_by_role("button", name="Update").click()
    expect(update.locator("pre")).to_have_text("42")
    query = page.locator("form.talk").filter(has_text="nothing is written")
    query.get_by_label("Name").fill("count")
    query.get_by_role("button", name="Query").click()
    expect(query.locator("pre")).to_have_text("42")

    page.get_by_role("tab", name="Timeline").click()
    expect(page.get_by_role("listitem", name=re.compile("^signal add, "))).to_be_visible()
    expect(page.get_by_role("listitem", name=re.compile("^update double, "))).to_be_visible()
