"""Nothing grows without end: files, functions, classes and lines have a limit each.

ratchet.json lists what is larger, with its size; it may only shrink, and it began empty.
"""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.house.plan import (
    CLASS_METHODS_MAX,
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    LINE_LENGTH_MAX,
)
from tests.house.reading import ROOT, Module, house, other_roots

RATCHET = Path(__file__).with_name("ratchet.json")


def oversize(modules: Mapping[str, Module]) -> dict[str, int]:
    """Everything over its limit, with its size."""
    found = {}
    for module in modules.values():
        lines = len(module.text.splitlines())
        if lines > FILE_LINES_MAX:
            found[module.path] = lines
        for name, node in _definitions(module.tree):
            if isinstance(node, ast.ClassDef):
                size, limit = len(_public_methods(node)), CLASS_METHODS_MAX
            else:
                size, limit = (node.end_lineno or 0) - node.lineno + 1, FUNCTION_LINES_MAX
            if size > limit:
                found[f"{module.path}:{name}"] = size
    return found


def _definitions(
    tree: ast.AST, prefix: str = ""
) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from _definitions(node, f"{prefix}{node.name}.")
        else:
            yield from _definitions(node, prefix)


def _public_methods(node: ast.ClassDef) -> set[str]:
    # A set: the overloads of one method are one method, as are a property's halves.
    return {
        child.name
        for child in node.body
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        and not child.name.startswith("_")
        and not any("property" in ast.unparse(d) for d in child.decorator_list)
    }


def long_lines(modules: Mapping[str, Module]) -> list[str]:
    """Lines over the limit."""
    return [
        f"{module.path}:{number}"
        for module in modules.values()
        for number, line in enumerate(module.text.splitlines(), 1)
        if len(line) > LINE_LENGTH_MAX
    ]


def test_nothing_is_over_its_limit_but_what_the_ratchet_lists() -> None:
    allowed: dict[str, int] = json.loads(RATCHET.read_text("utf-8"))

    found = oversize({**house(), **other_roots()})

    assert found == allowed, "split what is new; lower or remove in ratchet.json what has shrunk"


def test_the_ratchet_only_shrinks() -> None:
    now: dict[str, int] = json.loads(RATCHET.read_text("utf-8"))

    for earlier in _committed_ratchets():
        grown = {name: size for name, size in now.items() if size > earlier.get(name, 0)}
        assert grown == {}


def _committed_ratchets() -> Iterator[dict[str, int]]:
    path = str(RATCHET.relative_to(ROOT))
    commits = _git("log", "--format=%H", "--", path).split()
    for commit in commits:
        yield json.loads(_git("show", f"{commit}:{path}"))


def _git(*arguments: str) -> str:
    # Outside a clone (an unpacked source archive) there is no history to compare with.
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True
    )
    return done.stdout if done.returncode == 0 else ""


def test_lines_fit_the_page() -> None:
    assert long_lines({**house(), **other_roots()}) == []


def test_planted_giants_are_found() -> None:
    function = "def f():\n" + "    x = 1\n" * 60
    methods = "".join(f"    def m{i}(self): ...\n" for i in range(16))
    text = f"{function}class C:\n{methods}" + "\n" * 700

    found = oversize({"m": Module("m", "m.py", text)})

    assert found == {"m.py": len(text.splitlines()), "m.py:f": 61, "m.py:C": 16}


def test_what_is_just_within_its_limit_passes() -> None:
    function = "def f():\n" + "    x = 1\n" * 59
    overloads = "    @overload\n    def m(self): ...\n" * 20
    text = f"{function}class C:\n{overloads}"

    assert oversize({"m": Module("m", "m.py", text)}) == {}
    assert long_lines({"m": Module("m", "m.py", "x" * 100 + "\n" + "x" * 101)}) == ["m.py:2"]
