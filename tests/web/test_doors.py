"""Attacks on the doors, each against the real server: who is called, from where, and by whom."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from perdure_views.gateway.principals import Register, SignInError, TokenList
from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.settings import BODY_BYTES_MAX, Settings, SettingsError
from perdure_views.gateway.sign_in_limits import (
    FAILURES_MAX,
    FORGIVEN_EVERY_S,
    PEERS_MAX,
    SignInLimiter,
)
from tests.web.shop import TASK_QUEUE
from tests.web.site import CSRF, Caller, Site

pytestmark = pytest.mark.embedded
READER = "reader-token-0123456789"
OPERATOR = "operator-token-0123456789"
START = {"workflow_id": "door", "workflow_type": "Greeting", "task_queue": TASK_QUEUE}


@pytest.fixture(scope="module")
def guarded(site: Site) -> str:
    tokens = TokenList.of_text(f"read rita {READER}\noperate oskar {OPERATOR}", where="here")
    return site.serve(Settings(port=0, register=Register([tokens]), host_names=("ui.example",)))


@pytest.fixture
def guarded_http(guarded: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded, timeout=20) as client:
        yield client


def raw(url: str, request: bytes) -> bytes:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
    return answer


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "ui.example:1", "[::1"])
def test_a_name_that_was_rebound_to_us_is_not_ours(caller: Caller, host: str) -> None:
    answer = caller.http.get("/api/v1/workflows", headers={"host": host})

    assert answer.status_code == 421
    assert answer.json()["code"] == "misdirected"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:80"])
def test_loopback_has_many_names(caller: Caller, host: str) -> None:
    assert caller.http.get("/healthz", headers={"host": host}).status_code == 200


def test_two_hosts_are_none(site: Site) -> None:
    answer = raw(
        site.url,
        b"GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
        b"Connection: close\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_foreign_page_neither_reads_nor_writes(caller: Caller, headers: dict[str, str]) -> None:
    read = caller.http.get("/api/v1/workflows", headers=headers)
    written = caller.post("/api/v1/workflows", START, **headers)

    assert (read.status_code, read.json()["code"]) == (403, "foreign")
    assert (written.status_code, written.json()["code"]) == (403, "foreign")
    assert "access-control-allow-origin" not in read.headers


def test_a_link_from_elsewhere_still_opens_a_page(caller: Caller) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}

    assert caller.http.get("/run?id=x", headers=headers).status_code == 200


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_change_without_its_csrf_token_changes_nothing(caller: Caller, token: str) -> None:
    answer = caller.http.post(
        "/api/v1/workflows", json=START, headers={CSRF.encode(): token.encode()}
    )

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign")
    assert caller.get("/api/v1/workflow", id="door").status_code == 404


def test_a_form_of_a_foreign_page_is_no_json(caller: Caller) -> None:
    answer = caller.http.post(
        "/api/v1/workflows",
        content=json.dumps(START),
        headers={"content-type": "text/plain", CSRF: caller.csrf},
    )

    assert (answer.status_code, answer.json()["code"]) == (415, "wrong_media")


def test_a_body_that_is_too_large_is_not_read(site: Site, caller: Caller) -> None:
    said = caller.http.post(
        "/api/v1/workflows",
        content=b" " * (BODY_BYTES_MAX + 1),
        headers={"content-type": "application/json", CSRF: caller.csrf},
    )
    parts = urlsplit(site.url)
    line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    line.request(
        "POST",
        "/api/v1/workflows",
        body=(b" " * 65536 for _ in range(40)),
        headers={"Content-Type": "application/json", CSRF: caller.csrf},
        encode_chunked=True,
    )
    streamed = line.getresponse().status
    line.close()

    assert said.status_code == 413
    assert streamed == 413


def test_a_nest_of_brackets_is_an_error_not_a_crash(caller: Caller) -> None:
    answer = caller.http.post(
        "/api/v1/workflows",
        content=b'{"workflow_id":"x","workflow_type":"T","task_queue":"q","input":'
        + b"[" * 100_000
        + b"]" * 100_000
        + b"}",
        headers={"content-type": "application/json", CSRF: caller.csrf},
    )

    assert 400 <= answer.status_code < 500
    assert caller.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/js/../index.html",
        "/js/%2e%2e/%2e%2e/gateway/app.py",
        "/vendor/..%2f..%2fgateway%2fapp.py",
        "/js/main.js%00.css",
        "/pages/index.html",
        "//etc/passwd",
    ],
)
def test_no_path_leads_out_of_the_table_of_pages(site: Site, path: str) -> None:
    answer = raw(
        site.url,
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
    )

    assert answer.split(b" ", 2)[1] in (b"404", b"400")


@pytest.mark.parametrize("id", ["../../etc/passwd", "a\0b", "x/y?z#", "%2e%2e", " ", "é" * 300])
def test_an_id_is_an_id_whatever_is_in_it(caller: Caller, id: str) -> None:
    started = caller.post("/api/v1/workflows", {**START, "workflow_id": id, "input": ["ada"]})

    if started.status_code == 201:
        found = caller.get("/api/v1/workflow", id=id).json()
        assert found["run"]["workflow_id"] == id
    else:
        assert started.status_code == 400


def test_every_answer_forbids_what_pages_do_not_need(caller: Caller) -> None:
    for path in ("/", "/js/main.js", "/api/v1/me", "/api/v1/nothing", "/nothing"):
        headers = caller.http.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers


def test_api_answers_are_kept_by_nobody(caller: Caller) -> None:
    assert caller.get("/api/v1/workflows").headers["cache-control"] == "no-store"


# Who asks.


def test_nobody_without_a_token_learns_or_changes_anything(guarded_http: httpx.Client) -> None:
    for path in ("/api/v1/me", "/api/v1/workflows", "/api/v1/task-queues", "/api/v1/workflow?id=x"):
        answer = guarded_http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert guarded_http.post("/api/v1/workflows", json=START).status_code == 401
    assert guarded_http.get("/").status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer wrong",
        f"Basic {READER}",
        READER,
        f"Bearer {READER}x",
        "Bearer " + "x" * 9000,
    ],
)
def test_a_wrong_token_is_no_token(guarded_http: httpx.Client, header: str) -> None:
    answer = guarded_http.get("/api/v1/workflows", headers={"authorization": header})

    assert answer.status_code == 401


def test_a_reader_may_read_and_an_operator_act(guarded_http: httpx.Client) -> None:
    reads = {"authorization": f"Bearer {READER}"}
    acts = {"authorization": f"Bearer {OPERATOR}"}
    start = {**START, "workflow_id": "door-roles", "input": ["ada"]}

    assert guarded_http.get("/api/v1/workflows", headers=reads).status_code == 200
    refused = guarded_http.post("/api/v1/workflows", json=start, headers=reads)
    taken = guarded_http.post("/api/v1/workflows", json=start, headers=acts)
    history = guarded_http.get(
        "/api/v1/workflow/history", params={"id": "door-roles"}, headers=reads
    )

    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert taken.status_code == 201
    assert history.json()["events"][0]["attributes"]["identity"] == "oskar"


def test_a_session_needs_its_csrf_token_and_its_cookie_is_out_of_reach_for_scripts(
    guarded_http: httpx.Client,
) -> None:
    signed_in = guarded_http.post("/api/v1/session", json={"token": OPERATOR})
    cookie = signed_in.headers["set-cookie"].lower()
    me = guarded_http.get("/api/v1/me").json()
    start = {**START, "workflow_id": "door-session", "input": ["ada"]}

    without = guarded_http.post("/api/v1/workflows", json=start)
    with_it = guarded_http.post("/api/v1/workflows", json=start, headers={CSRF: me["csrf"]})

    assert signed_in.status_code == 204
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert (me["name"], me["role"]) == ("oskar", "operate")
    assert without.status_code == 403
    assert with_it.status_code == 201


def test_a_session_that_was_changed_or_made_elsewhere_is_none(guarded_http: httpx.Client) -> None:
    guarded_http.post("/api/v1/session", json={"token": READER})
    cookie = guarded_http.cookies["perdure_session"]
    head, claims, signature = cookie.split(".")
    guarded_http.cookies.clear()
    forged = [
        f"{head}.{claims}.{signature[:-4]}AAAA",
        f"{head}.{claims}.",
        "eyJhbGciOiJub25lIn0." + claims + ".",
        Register().session_of(Register().nobody()),
    ]

    for one in forged:
        answer = guarded_http.get("/api/v1/workflows", headers={"cookie": f"perdure_session={one}"})
        assert answer.status_code == 401


def test_a_wrong_token_does_not_sign_in(guarded_http: httpx.Client) -> None:
    for token in ("", "wrong", "x" * 10_000):
        answer = guarded_http.post("/api/v1/session", json={"token": token})
        assert answer.status_code == 401
        assert token not in answer.text or not token


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_another_address_without_sign_in_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="nobody would be asked who"):
        Settings(host=host).check()


def test_another_address_needs_the_names_it_is_called_by() -> None:
    register = Register([TokenList.of_text(f"admin ada {OPERATOR}", where="here")])

    with pytest.raises(SettingsError, match="--host-name"):
        Settings(host="0.0.0.0", register=register).check()
    Settings(host="0.0.0.0", register=register, host_names=("ui.example",)).check()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("admin ada", "line 1"),
        ("root ada 0123456789abcdef", "line 1"),
        ("read ada short", "at least 16"),
        ("read ada sha256:zz", "64 hexadecimal"),
    ],
)
def test_a_token_file_that_is_wrong_says_which_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TokenList.of_text(text, where="tokens")


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"admin ada {OPERATOR}\n")
    file.chmod(0o644)

    with pytest.raises(ValueError, match="chmod 600"):
        TokenList.of_file(file)


async def test_a_token_may_be_kept_as_its_hash() -> None:
    import hashlib

    digest = hashlib.sha256(OPERATOR.encode()).hexdigest()
    tokens = TokenList.of_text(f"admin ada sha256:{digest}", where="here")
    register = Register([tokens])

    assert (await register.by_token(OPERATOR)).name == "ada"
    with pytest.raises(SignInError):
        await register.by_token(digest)


def test_guessing_at_sign_in_is_slowed_down_and_nobody_elses_is(site: Site) -> None:
    tokens = TokenList.of_text(f"operate oskar {OPERATOR}", where="here")
    url = site.serve(Settings(port=0, register=Register([tokens])))

    def sign_in(http: httpx.Client, token: str) -> httpx.Response:
        return http.post("/api/v1/session", json={"token": token})

    elsewhere = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=url) as http, httpx.Client(base_url=url, transport=elsewhere) as far:
        guesses = [sign_in(http, f"guess-{n}-0123456789") for n in range(FAILURES_MAX)]
        over = sign_in(http, OPERATOR)
        other = sign_in(far, OPERATOR)
        bearer = http.get("/api/v1/me", headers={"authorization": f"Bearer {OPERATOR}"})

    assert {answer.status_code for answer in guesses} == {401}
    assert (over.status_code, over.json()["code"]) == (429, "too_many")
    assert 0 < int(over.headers["retry-after"]) <= FORGIVEN_EVERY_S
    assert "try again in" in over.json()["message"]
    assert other.status_code == 204
    assert bearer.status_code == 200


def test_failures_are_forgiven_one_by_one_and_an_ipv6_network_is_one() -> None:
    now = [0.0]
    limiter = SignInLimiter(clock=lambda: now[0])

    def lets(peer: str) -> bool:
        try:
            limiter.check(peer)
        except ProblemError:
            return False
        return True

    for number in range(FAILURES_MAX):
        assert lets("2001:db8::1")
        limiter.failed(f"2001:db8::{number}")
    assert not lets("2001:db8::ffff")
    assert lets("2001:db8:0:1::1")
    assert lets("192.0.2.1")
    now[0] = FORGIVEN_EVERY_S
    assert lets("2001:db8::1")
    limiter.failed("2001:db8::1")
    assert not lets("2001:db8::1")
    now[0] += FORGIVEN_EVERY_S * FAILURES_MAX
    for _ in range(FAILURES_MAX):
        assert lets("2001:db8::1")
        limiter.failed("2001:db8::1")
    assert not lets("2001:db8::1")
    for number in range(PEERS_MAX):
        limiter.failed(f"peer {number}")
    assert len(limiter._failures) == PEERS_MAX
