"""Live streams over real HTTP: in order, once each, resumable, and let go when nobody reads."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from perdure_views.gateway import app, streams
from tests.log_rig import wait_for
from tests.web.shop import HOUR_S
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded


def said(response: httpx.Response) -> Iterator[tuple[str, str, Any]]:
    """The events of a stream: name, id, data."""
    name = id = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            id = line[4:]
        elif line.startswith("data: "):
            yield name, id, json.loads(line[6:])
            name = id = ""


def test_a_run_is_followed_to_its_end_each_event_once(site: Site, caller: Caller) -> None:
    site.start("Stumbling", 2, 0.2, id="live-1")

    with caller.http.stream("GET", "/api/v1/workflow/live", params={"id": "live-1"}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        found = list(said(response))

    events = [event for name, _, data in found if name == "history" for event in data["events"]]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events].count("ActivityRetryScheduled") == 2
    assert events[-1]["type"] == "WorkflowCompleted"
    assert found[-1][0] == "end"
    statuses = [data["run"]["status"] for name, _, data in found if name == "description"]
    assert statuses[-1] == "completed"


def test_a_stream_goes_on_where_its_reader_was(site: Site, caller: Caller) -> None:
    site.execute("Greeting", "ada", id="live-2")

    with caller.http.stream(
        "GET", "/api/v1/workflow/live", params={"id": "live-2"}, headers={"last-event-id": "3"}
    ) as response:
        events = [
            event["id"]
            for name, _, data in said(response)
            if name == "history"
            for event in data["events"]
        ]

    assert events == [3, 4]


def test_the_list_says_when_something_has_changed(site: Site, caller: Caller) -> None:
    with caller.http.stream("GET", "/api/v1/workflows/live", params={"limit": 5}) as response:
        stream = said(response)
        next(stream)
        site.start("Sleeping", HOUR_S, id="live-list")
        for _ in range(10):
            _, _, data = next(stream)
            if any(run["workflow_id"] == "live-list" for run in data["runs"]):
                break
        else:
            pytest.fail("the new run never came")


def test_line_breaks_between_values_of_a_payload_end_no_event(caller: Caller) -> None:
    # As any producer may write it: JSON on several lines, one of them empty.
    taken = caller.http.post(
        "/api/v1/workflows",
        content=b'{"workflow_id": "live-lines", "workflow_type": "Greeting", "task_queue": "shop",'
        b' "input": [{"a":\n\n[1,\r\n2]}]}',
        headers={"content-type": "application/json", "x-perdure-csrf": caller.csrf},
    )

    with caller.http.stream(
        "GET", "/api/v1/workflow/live", params={"id": "live-lines"}
    ) as response:
        name, _, data = next(said(response))

    assert taken.status_code == 201
    assert name == "description"
    assert data["input"][0]["value"] == {"a": [1, 2]}


def test_a_stream_of_an_unknown_run_is_an_answer_not_a_stream(caller: Caller) -> None:
    answer = caller.get("/api/v1/workflow/live", id="live-nobody")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_reader_that_never_reads_is_let_go_and_holds_up_nobody(
    site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.execute("Busy", 250, 20_000, id="live-bulky")
    monkeypatch.setattr(app, "STREAMS_MAX", 1)

    def other() -> int:
        answer = caller.http.get("/api/v1/workflow/live", params={"id": "live-nobody"})
        return answer.status_code

    # While it does not read, its place is taken; then it is let go, and the place is free. On a
    # slow machine it is let go before anybody else has asked: then once more, with more time.
    for send_s in (1.0, 4.0, 16.0):
        monkeypatch.setattr(streams, "SEND_S", send_s)
        with closing(lazy_reader(site)):
            first = other()
            assert caller.get("/healthz").text == "ok\n"
            assert wait_for(lambda: other() == 404, timeout_s=30)
        if first == 429:
            break
    else:
        pytest.fail("the place of a reader that does not read was never taken")


def lazy_reader(site: Site) -> socket.socket:
    """Somebody who asks for a long stream, and reads but the first of it."""
    parts = urlsplit(site.url)
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.settimeout(20)
    lazy.connect((parts.hostname, parts.port))
    lazy.sendall(b"GET /api/v1/workflow/live?id=live-bulky HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert lazy.recv(16).startswith(b"HTTP/1.1 200")
    return lazy
