"""The pages point at things that are there, and the README promises only what make can do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.house.reading import ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NOT_OURS = {"hatchling", "pip", "venv"}
MAKE = re.compile(r"`make ([a-z]+)|^make ([a-z]+)", re.MULTILINE)


def pages() -> dict[Path, str]:
    """Every page of the house."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return {path: path.read_text("utf-8") for path in sorted(found)}


def broken_links(texts: Mapping[Path, str]) -> Iterator[str]:
    """Links to files that are not there."""
    for path, text in texts.items():
        for target in LINK.findall(text):
            file = target.partition("#")[0]
            if "://" not in target and file and not (path.parent / file).exists():
                yield f"{path.name} links to {target}"


def test_links_between_pages_lead_somewhere() -> None:
    texts = pages()

    assert ROOT / "README.md" in texts
    assert list(broken_links(texts)) == []


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))

    named = {one or other for text in pages().values() for one, other in MAKE.findall(text)}

    assert named
    assert named <= targets


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_a_planted_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("", "utf-8")
    text = "[it](a.md#top) [out](https://example.org) [gone](gone.md)"

    assert list(broken_links({page: text})) == ["a.md links to gone.md"]


def test_every_module_that_make_runs_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    ours = [name for name in re.findall(r"-m ([\w.]+)", makefile) if name not in NOT_OURS]

    places = {name: ROOT / name.replace(".", "/") for name in ours}

    assert "examples.orders.demo" in places
    assert [
        name
        for name, place in places.items()
        if not place.with_suffix(".py").is_file() and not (place / "__main__.py").is_file()
    ] == []
