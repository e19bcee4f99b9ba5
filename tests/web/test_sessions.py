"""Who was let in and is not any more: sessions, views and connections end, soon and for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from perdure._gateway import client_socket
from perdure_topics.remote.remote_log import RemoteLog
from perdure_views.gateway import principals
from perdure_views.gateway.principals import Principal, Register, SignInError, TokenList
from perdure_views.gateway.settings import Settings
from tests.log_rig import wait_for
from tests.web.shop import HOUR_S
from tests.web.site import Site

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
RITA = "reader-token-0123456789"
ADA = "admin-token-0123456789"


class Door:
    """A gateway with a file of tokens, and somebody who has signed in."""

    def __init__(self, site: Site, file: Path) -> None:
        self._file = file
        self.write(f"read rita {RITA}\nadmin ada {ADA}\n")
        self.register = Register([TokenList.of_file(file)])
        self.url = site.serve(Settings(port=0, register=self.register))
        self.http = httpx.Client(base_url=self.url, timeout=20)
        assert self.http.post("/api/v1/session", json={"token": RITA}).status_code == 204

    def write(self, text: str) -> None:
        """Write the tokens anew."""
        self._file.write_text(text)
        self._file.chmod(0o600)

    def lets_in(self) -> bool:
        """Whether the session is one still."""
        return self.http.get("/api/v1/me").status_code == 200


@pytest.fixture
def door(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(principals, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(client_socket, "HELD_EVERY_S", 0.05)
    made = Door(site, tmp_path / "tokens")
    yield made
    made.http.close()


def test_a_cookie_is_of_no_use_after_its_session_was_left(door: Door) -> None:
    cookie = door.http.cookies["perdure_session"]
    assert door.lets_in()

    door.http.post("/api/v1/session/end")

    stolen = httpx.get(f"{door.url}/api/v1/me", headers={"cookie": f"perdure_session={cookie}"})
    assert stolen.status_code == 401


@pytest.mark.parametrize("left", [f"admin ada {ADA}", f"admin rita {RITA}"], ids=["no", "another"])
def test_a_token_that_is_removed_or_has_another_role_ends_its_sessions(
    door: Door, left: str
) -> None:
    assert door.lets_in()

    door.write(left)

    assert not door.lets_in()


def test_a_file_that_is_wrong_changes_nothing_and_lets_nobody_new_in(door: Door) -> None:
    door.write("root rita")

    assert door.lets_in()


def test_a_removed_token_ends_views_and_connections(site: Site, door: Door) -> None:
    site.start("Sleeping", HOUR_S, id="session-view")
    log = RemoteLog.connect(door.url, api_key=RITA)
    with door.http.stream(
        "GET", "/api/v1/workflow/live", params={"id": "session-view"}
    ) as response:
        lines = response.iter_lines()
        assert next(lines) == "event: description"
        door.write(f"admin ada {ADA}")
        rest = "\n".join(lines)

    assert "event: fatal" in rest
    assert "unauthenticated" in rest

    def is_away() -> bool:
        return not log._link.up.is_set()

    assert wait_for(is_away, timeout_s=30)
    log.close()


def test_signing_out_ends_the_views_of_a_session(site: Site, door: Door) -> None:
    site.start("Sleeping", HOUR_S, id="session-left")
    with door.http.stream(
        "GET", "/api/v1/workflow/live", params={"id": "session-left"}
    ) as response:
        lines = response.iter_lines()
        assert next(lines) == "event: description"
        cookies = dict(door.http.cookies)
        httpx.post(f"{door.url}/api/v1/session/end", cookies=cookies)
        rest = "\n".join(lines)

    assert "unauthenticated" in rest


def test_a_session_ends_with_the_token_of_a_provider() -> None:
    register = Register([TokenList.of_text(f"admin ada {ADA}", where="here")])
    eve = Principal(name="eve", role="read", until_s=time.time() + 3_600)

    inside = register.session_of(eve)

    found = register.by_session(inside)
    assert found.until_s == eve.until_s
    late = register.session_of(Principal(name="eve", role="read", until_s=time.time() - 1))
    with pytest.raises(SignInError, match="has ended"):
        register.by_session(late)


def test_sessions_without_end_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(principals, "SESSIONS_MAX", 2)
    register = Register()
    made = [register.session_of(register.nobody()) for _ in range(3)]

    with pytest.raises(SignInError):
        register.by_session(made[0])
    assert register.by_session(made[2]).name == "local"
