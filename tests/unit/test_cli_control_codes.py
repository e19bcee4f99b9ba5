"""Text from others on a terminal: shown, and never a command to it."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest

from perdure.cli import output
from perdure.cli.output import (
    SafeFormatter,
    console,
    echo,
    print_error,
    print_json,
    print_notice,
    print_table,
    text,
    visible,
)

CODES = {
    "clear the screen": "\x1b[2J",
    "rename the window": "\x1b]0;owned\x07",
    "a clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "eight bits": "\x9b2J",
    "backspaces": "rm -rf /\b\b\b\b\b\b\b\bls",
    "the line again": "all is well\rx",
    "another direction": "\u202egnp.exe\u2066",
    "nothing": "\0",
    "delete": "\x7f",
}
HARMLESS = "\n\t"


def acts(printed: str) -> list[str]:
    """What would act on a terminal."""
    return [
        sign
        for sign in printed
        if sign not in HARMLESS
        and (
            ord(sign) < 0x20
            or 0x7F <= ord(sign) < 0xA0
            or sign in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        )
    ]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_tables_lines_notices_and_errors_show_codes(
    capsys: pytest.CaptureFixture[str], code: str
) -> None:
    print_table(["id", "type"], [[text(code), code]], title="runs")
    console().print(f"[bold]{text(code)}[/]")
    echo(code)
    print_notice(code)
    print_error(ValueError(code))

    printed = capsys.readouterr()
    assert acts(printed.out + printed.err) == []


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_json_is_the_same_value_and_no_command(
    capsys: pytest.CaptureFixture[str], code: str
) -> None:
    print_json({code: [code, "é 日本"]})

    printed = capsys.readouterr().out
    assert acts(printed) == []
    assert json.loads(printed) == {code: [code, "é 日本"]}
    assert "é 日本" in printed


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_log_lines_show_codes(code: str) -> None:
    record = logging.LogRecord("perdure.x", logging.ERROR, "f", 1, "an id: %s", (code,), None)

    assert acts(SafeFormatter("%(message)s").format(record)) == []


def test_a_terminal_keeps_its_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = console()

    with out.capture() as captured:
        out.print(f"[red]{text(chr(27) + '[2J')}[/]")

    assert captured.get() == "\x1b[31m␛[2J\x1b[0m\n"


def test_what_is_shown_says_which_code_it_was() -> None:
    assert visible("a\x1b\0\x7f\x9b\n\tb") == "a␛␀␡\ufffd\n\tb"


def test_commands_print_by_what_shows_codes() -> None:
    """A bare print in a command is text of others on a terminal, sooner or later."""
    folder = Path(output.__file__).parent
    bare = [
        f"{file.name}: {line.strip()}"
        for file in sorted(folder.glob("*.py"))
        if file.name not in ("output.py", "commands.py")
        for line in file.read_text().splitlines()
        if re.search(r"(?<![\w.])print\(", line) or "typer.echo(" in line
    ]

    assert bare == []
