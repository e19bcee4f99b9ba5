"""Who did it: what the audit log has, what it never has, and under which name a signal comes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from perdure_schemas.avro import decode, encode
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.payloads import SignalInput
from perdure_topics.names import partition_of
from perdure_topics.wire.frames import Place
from perdure_views.gateway import audit
from perdure_views.gateway.admission import admit
from perdure_views.gateway.principals import Principal, Register, TokenList
from perdure_views.gateway.settings import Settings
from tests.web.shop import TASK_QUEUE
from tests.web.site import CSRF, Site

pytestmark = pytest.mark.embedded
RITA = "reader-token-0123456789"
OSKAR = "operator-token-0123456789"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "audit"
    before, level = list(audit.AUDIT.handlers), audit.AUDIT.level
    audit.write_to(path)
    yield path
    for handler in [one for one in audit.AUDIT.handlers if one not in before]:
        audit.AUDIT.removeHandler(handler)
        handler.close()
    audit.AUDIT.setLevel(level)
    audit.AUDIT.propagate = True


def entries(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_sign_ins_denials_and_changes_are_in_it_and_no_token_or_value(
    site: Site, file: Path
) -> None:
    tokens = TokenList.of_text(f"read rita {RITA}\noperate oskar {OSKAR}", where="here")
    url = site.serve(Settings(port=0, register=Register([tokens])))
    start = {
        "workflow_id": "audit-1",
        "workflow_type": "Greeting",
        "task_queue": TASK_QUEUE,
        "input": ["a value of somebody"],
    }
    with httpx.Client(base_url=url, timeout=20) as http:
        http.get("/api/v1/workflows", headers={"authorization": "Bearer guess-0123456789-guess"})
        http.post("/api/v1/workflows", json=start, headers={"authorization": f"Bearer {RITA}"})
        http.post("/api/v1/session", json={"token": OSKAR})
        csrf = http.get("/api/v1/me").json()["csrf"]
        http.get("/api/v1/workflows")
        taken = http.post("/api/v1/workflows", json=start, headers={CSRF: csrf})
        http.post("/api/v1/session/end")

    found = entries(file)
    assert taken.status_code == 201
    assert [(one["kind"], one.get("name", ""), one.get("what", "")) for one in found] == [
        ("denied", "", "token"),
        ("denied", "rita", "startWorkflow"),
        ("sign_in", "oskar", ""),
        ("change", "oskar", "startWorkflow"),
        ("sign_out", "oskar", ""),
    ]
    assert found[3]["about"] == "audit-1"
    assert all(one["at_ms"] > 0 and one["peer"] == "127.0.0.1" for one in found)
    text = file.read_text()
    assert not [one for one in (RITA, OSKAR, "guess-0123", "a value of somebody") if one in text]
    assert file.stat().st_mode & 0o777 == 0o600


def test_reads_are_in_it_by_choice(site: Site, file: Path) -> None:
    tokens = TokenList.of_text(f"read rita {RITA}", where="here")
    settings = Settings(port=0, register=Register([tokens]), audits_reads=True)

    httpx.get(
        f"{site.serve(settings)}/api/v1/workflows", headers={"authorization": f"Bearer {RITA}"}
    )

    assert [(one["kind"], one["what"]) for one in entries(file)] == [("read", "listWorkflows")]


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[2J", "\x7f", "\x9b2J", "é 日本 😀", '"}'])
def test_an_entry_is_one_line_whatever_is_in_it(file: Path, text: str) -> None:
    audit.note("denied", about=text, why="x" * 10_000)

    (line,) = file.read_text().splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["about"] == text
    assert len(line) < 2_000


def test_what_a_start_brings_comes_under_the_proven_name() -> None:
    start = StartWorkflow(
        workflow_id="w",
        workflow_type="W",
        identity="root",
        signals=[SignalInput(signal_name="pay", identity="the boss")],
    )
    oskar = Principal(name="oskar", role="operate")
    row = ("ns.q.commands", 0, encode(start), b"w", ())

    admitted = admit(oskar, row, Place(partition_of("w", 1), 1, 1), names=True)

    found: Any = decode(admitted.value)
    assert found.identity == "oskar (root)"
    assert found.signals[0].identity == "oskar (the boss)"


def test_nothing_is_written_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        audit.note("change", name="oskar")

    assert caplog.records == []
