"""Each name of Temporal's SDK has its row, and the row is true; signatures are compared rightly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

import pytest

from tests.parity import signatures, table


def test_every_row_is_true() -> None:
    wrong = [f"{row.module}.{row.name}: {row.problem}" for row in table.rows() if row.problem]

    assert wrong == [], "write a row into tests/parity/rows.toml, and run make pages"


def test_every_name_of_the_list_has_one_row() -> None:
    made = [(row.module, row.name) for row in table.rows()]
    listed = [(module, name) for module, names in table.names().items() for name in names]

    assert made == listed
    assert len(set(made)) == len(made) > 500


def test_rows_are_about_names_of_the_list() -> None:
    stray = [
        f"{module}.{name}"
        for module, rows in table.said().items()
        for name in rows
        if module != "every module" and "*" not in name and name not in table.names()[module]
    ]

    assert stray == []


class Options(TypedDict, total=False):
    a: int
    b: str


def plain(client: Any, *, queue: str, many: Sequence[int] = (), flag: bool = False) -> None: ...


def optioned(call: Callable[..., Any], **options: Unpack[Options]) -> None: ...


SAME = "(client: 'a.b.Client', *, queue: 'str', many: 'Sequence[int]' = [], flag: 'bool' = False)"


@pytest.mark.parametrize(
    ("theirs", "thing", "found"),
    [
        (SAME, plain, []),
        ("(call: 'Callable[..., Any]', *, a: int = 1, b: str = '') -> None", optioned, []),
        (
            SAME.replace("queue", "line"),
            plain,
            ["no `line`", "also `queue`"],
        ),
        (
            SAME.replace("*, ", ""),
            plain,
            [f"`{name}` is keyword, not positional" for name in ("queue", "many", "flag")],
        ),
        (SAME.replace("False", "True"), plain, ["`flag` is False, not True"]),
        (SAME.replace(" = False", ""), plain, ["`flag` is False, not required"]),
    ],
)
def test_differences_are_found(theirs: str, thing: Any, found: list[str]) -> None:
    assert signatures.differences(theirs, thing) == found


@pytest.mark.parametrize(
    ("default", "same_as"),
    [
        ("<HeaderCodecBehavior.NO_CODEC: 1>", "HeaderCodecBehavior.NO_CODEC"),
        (
            "<class 'temporalio.converter._payload.DefaultConverter'>",
            "<class 'x.DefaultConverter'>",
        ),
        ("[]", "()"),
        ("datetime.timedelta(seconds=60)", "timedelta(seconds=60)"),
        ("Priority(priority_key=None)", "Priority(priority_key=None, more=1)"),
    ],
)
def test_defaults_that_mean_the_same_are_the_same(default: str, same_as: str) -> None:
    assert signatures.normal(default) == signatures.normal(same_as)


def test_defaults_that_do_not_are_not() -> None:
    texts = ["timedelta(seconds=60)", "timedelta(seconds=61)", "None", "0", "False", "''"]

    assert len({signatures.normal(text) for text in texts}) == len(texts)


def row(entry: dict[str, Any], name: str, module: str = "client") -> table.Row:
    return table.row_of(module, name, entry)


def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def say(name: str, verdict: str) -> None:
        words = {"client": {name: table.Said(verdict, "because")}}
        monkeypatch.setattr(table, "said", lambda: words)

    assert "is not there" in row({}, "Gone").problem
    say("Gone", "same")
    assert "'same', and it is not there" in row({}, "Gone").problem
    say("Client", "absent")
    assert "is there, and" in row({}, "Client").problem
    say("Gone", "not yet")
    assert row({}, "Gone") == table.Row("client", "Gone", "absent (not yet)", "because")
    say("RPCError", "not yet")
    assert "signature differs" in row({"signature": "(other)"}, "RPCError").problem
    say("RPCError", "better")
    assert row({"signature": "(other)"}, "RPCError").problem == ""
    assert row({"members": ["status", "gone"]}, "RPCError") == table.Row(
        "client", "RPCError", "different", "because; without `gone`"
    )
