"""Attacks that use up what others need: places, time, guesses, and numbers out of every range."""

from __future__ import annotations

import json
import os
import random
import socket
import typing
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from perdure._gateway import client_socket
from perdure_schemas.avro import decode, encode
from perdure_schemas.commands import AwaitResult
from perdure_schemas.payloads import ReplyTo
from perdure_topics.names import partition_of
from perdure_topics.ports import LogError
from perdure_topics.remote.remote_log import RemoteLog
from perdure_topics.wire.frames import Place
from perdure_views.gateway import app, server, shares
from perdure_views.gateway.admission import admit
from perdure_views.gateway.app import ENDPOINTS
from perdure_views.gateway.principals import Principal, Register, TokenList
from perdure_views.gateway.settings import Settings
from perdure_views.gateway.shares import ASK_HELD_S, OpenAsks
from perdure_views.gateway.sign_in_limits import FAILURES_MAX
from tests.web.shop import HOUR_S
from tests.web.site import CSRF, Caller, Site

pytestmark = pytest.mark.embedded
RITA = "reader-token-0123456789"
RALF = "other-reader-token-0123456789"


def guarded(site: Site) -> str:
    tokens = TokenList.of_text(f"read rita {RITA}\nread ralf {RALF}", where="here")
    return site.serve(Settings(port=0, register=Register([tokens])))


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# Places.


def test_one_person_does_not_take_all_live_views(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "STREAMS_EACH", 2)
    url = guarded(site)
    site.start("Sleeping", HOUR_S, id="used-views")

    with httpx.Client(base_url=url, timeout=20) as http:

        def open_view(token: str) -> httpx.Response:
            request = http.build_request(
                "GET", "/api/v1/workflow/live?id=used-views", headers=bearer(token)
            )
            return http.send(request, stream=True)

        views = [open_view(RITA) for _ in range(3)]
        other = open_view(RALF)
        said = views[2].read()
        for one in (*views, other):
            one.close()

    assert [one.status_code for one in views] == [200, 200, 429]
    assert b"rita has 2 live views open already" in said
    assert other.status_code == 200


def test_one_person_does_not_take_all_connections(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_socket, "CLIENTS_EACH", 1)
    url = guarded(site)

    first = RemoteLog.connect(url, api_key=RITA)
    with pytest.raises(LogError, match="rita has 1 connections of clients"):
        RemoteLog.connect(url, api_key=RITA, wait_s=0.1)
    other = RemoteLog.connect(url, api_key=RALF)

    first.close()
    other.close()


def test_asks_are_limited_by_person_and_leave_with_who_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shares, "ASKS_MAX", 3)
    now = [0.0]
    asks = OpenAsks(clock=lambda: now[0])

    for number in range(3):
        asks.ask("rita", f"r{number}")
    asks.ask("rita", "r0")
    asks.ask("ralf", "r9")
    with pytest.raises(LogError, match="3 asks of rita wait"):
        asks.ask("rita", "r3")
    asks.answered("rita", "r1")
    asks.ask("rita", "r3")
    with pytest.raises(LogError, match="3 asks of rita wait"):
        asks.ask("rita", "r4")
    now[0] = ASK_HELD_S + 1
    asks.ask("rita", "r4")


@pytest.mark.parametrize("deadline_ms", [0, 1 << 52])
def test_nobody_is_waited_for_long_after_they_have_gone(deadline_ms: int) -> None:
    reply = ReplyTo(partition=0, correlation_id="c", deadline_ms=deadline_ms)
    ask = AwaitResult(workflow_id="w", run_id="", reply=reply)
    place = Place(partition_of("w", 1), 1, 1)
    rita = Principal(name="rita", role="read")

    admitted = admit(rita, ("ns.q.commands", 0, encode(ask), b"w", ()), place, names=True)

    found: Any = decode(admitted.value)
    assert 0 < found.reply.deadline_ms < 1 << 45


# Time.


def answer_to(url: str, request: bytes) -> bytes:
    """All that is answered to some bytes, until the other side closes."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
        line.sendall(request)
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
        return answer


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "request_",
    [
        b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he",
        b"G",
        b"",
    ],
    ids=["headers", "second request", "line", "nothing"],
)
def test_half_a_request_keeps_no_place(
    site: Site, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.2)
    url = site.serve(Settings(port=0))

    answered = answer_to(url, request_)

    assert answered.count(b"HTTP/1.1") == request_.count(b"\r\n\r\n")


@pytest.mark.timeout(60)
def test_half_a_body_is_answered(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_S", 0.2)
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answered = answer_to(site.url, head + b"Content-Length: 100\r\nConnection: close\r\n\r\n{")

    assert answered.startswith(b"HTTP/1.1 408")


# Guesses.


def test_guesses_at_bearer_tokens_are_slowed_down_and_who_has_one_is_not(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "GUESS_S", 0.01)
    with httpx.Client(base_url=guarded(site), timeout=20) as http:

        def ask(token: str) -> httpx.Response:
            return http.get("/api/v1/workflows", headers=bearer(token))

        guesses = [ask(f"guess-{n}-0123456789").status_code for n in range(FAILURES_MAX)]
        over = ask("guess-0123456789-more")
        known = ask(RITA)

    assert guesses == [401] * FAILURES_MAX
    assert (over.status_code, over.json()["code"]) == (429, "too_many")
    assert int(over.headers["retry-after"]) > 0
    assert known.status_code == 200


# Numbers out of every range, and bodies of nonsense.


@pytest.mark.parametrize(
    "more",
    [
        {"every_ms": [2**63]},
        {"every_ms": [10**20]},
        {"catchup_window_ms": 2**63},
        {"start_ms": 10**18},
        {"end_ms": -(10**18)},
    ],
    ids=str,
)
def test_schedule_times_out_of_range_are_refused(caller: Caller, more: dict[str, Any]) -> None:
    wanted = {
        "schedule_id": "used-1",
        "workflow_type": "Greeting",
        "workflow_id": "w",
        "task_queue": "shop",
        "every_ms": [60_000],
        **more,
    }

    answer = caller.post("/api/v1/schedules", wanted)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert caller.get("/api/v1/schedule", id="used-1").status_code == 404


NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**18, 10**20, 1e308, 0.5)
TEXTS = (
    *("", "fuzz-1", "shop", "x" * 300, "\0", "é" * 200, "../..", "9" * 400, "* * * * *", "Running"),
    *("2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "\x1b[2J", '"', "x = 1", "ORDER BY"),
)
OTHER: tuple[Any, ...] = (None, 1, "x", [], {}, True, [[[]]])


def any_value(rng: random.Random, kind: Any) -> Any:
    """Something for a field of a body: of its type mostly, and hardly ever sensible."""
    arguments = typing.get_args(kind)
    if rng.random() < 0.06:
        return rng.choice(OTHER)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return {name: any_value(rng, one) for name, one in hints.items() if rng.random() < 0.75}
    if typing.get_origin(kind) is list:
        return [any_value(rng, arguments[0]) for _ in range(rng.choice((0, 1, 3)))]
    if typing.get_origin(kind) is dict:
        return {rng.choice(TEXTS): any_value(rng, arguments[1])}
    if arguments:
        return any_value(rng, rng.choice(arguments))
    if kind is bool:
        return rng.random() < 0.5
    return rng.choice(NUMBERS if kind in (int, float) else TEXTS)


SEED = random.SystemRandom().randrange(1 << 32)


@pytest.mark.timeout(120)
def test_no_request_of_nonsense_is_an_error_of_the_gateway(site: Site, caller: Caller) -> None:
    seed = int(os.environ.get("PERDURE_TEST_SEED", SEED))
    print(f"PERDURE_TEST_SEED={seed}")
    rng = random.Random(seed)
    rows = [row for row in ENDPOINTS if row.streams is None]
    site.execute("Greeting", "ada", id="fuzz-1")

    for _ in range(400):
        row = rng.choice(rows)
        params = {
            param.name: str(rng.choice(NUMBERS if param.is_number else TEXTS))
            for param in row.params
            if rng.random() < 0.7
        }
        body = "" if row.body is None else json.dumps(any_value(rng, row.body))
        answer = caller.http.request(
            row.method,
            row.path,
            params=params,
            content=body,
            headers={"content-type": "application/json", CSRF: caller.csrf},
        )
        assert answer.status_code < 500, (row.name, params, body, answer.text)
    assert caller.get("/api/v1/workflow", id="fuzz-1").status_code == 200
