"""No pickle gets in by any door, and no file speaks of one particular machine."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.house.plan import PICKLES
from tests.house.reading import ROOT, Module, house, imports_of, other_roots, within

# Folders that only one machine has; a path in a document or a test must hold anywhere.
MACHINE_PATH = re.compile(r"(?<![\w.$}-])/(?:work|farm|root|home/\w+|Users/\w+)/")
READ_BYTES_MAX = 2_000_000


def pickles(modules: Mapping[str, Module]) -> Iterator[str]:
    """Imports of a pickling module, and RocksDB opened in the mode that unpickles."""
    for module in modules.values():
        for found in imports_of(module):
            if within(found.name, PICKLES):
                yield f"{module.path}:{found.line} imports {found.name}"
        if any(within(found.name, ["rocksdict"]) for found in imports_of(module)):
            yield from _pickling_stores(module)


def _pickling_stores(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func).rpartition(".")[2]
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in {"Options", "WriteBatch"} and keywords.get("raw_mode") != "True":
            yield f"{module.path}:{node.lineno} makes {called} without raw_mode=True"
        if called == "Rdict" and len(node.args) < 2 and "options" not in keywords:
            yield f"{module.path}:{node.lineno} opens Rdict without options"


def machine_paths(texts: Mapping[str, str]) -> Iterator[str]:
    """Lines that name a folder of one machine."""
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                yield f"{path}:{number}: {line.strip()[:80]}"


def written_texts() -> dict[str, str]:
    """Every text that people wrote here: what git would take, or all of an unpacked archive."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    paths = (
        [ROOT / line for line in done.stdout.splitlines()]
        if done.returncode == 0
        else [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    )
    return {str(path.relative_to(ROOT)): text for path in paths if (text := _text(path))}


def _text(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > READ_BYTES_MAX:
        return ""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def test_nothing_is_pickled_or_unpickled() -> None:
    assert list(pickles({**house(), **other_roots()})) == []


def test_no_text_names_a_folder_of_one_machine() -> None:
    texts = written_texts()

    assert "pyproject.toml" in texts
    assert list(machine_paths(texts)) == []


def test_planted_pickles_are_found() -> None:
    store = 'from rocksdict import *\nRdict("x")\nOptions()\nRdict("x", Options(raw_mode=True))'
    planted = {"a": Module("a", "a", "from pickle import loads"), "b": Module("b", "b", store)}

    assert list(pickles(planted)) == [
        "a:1 imports pickle",
        "b:2 opens Rdict without options",
        "b:3 makes Options without raw_mode=True",
    ]


def test_planted_paths_are_found() -> None:
    folder = "work"
    texts = {"a.md": f"see /{folder}/notes\nand https://example.org/{folder}/x\n./{folder}/y"}

    assert list(machine_paths(texts)) == [f"a.md:1: see /{folder}/notes"]
