"""Nothing grows without end: files, functions, classes and lines have a limit each.

ratchet.json lists what is larger, with its size; it may only shrink, and it began empty.
"""

from __future__ import annotations

import ast
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.house.classes import Classes, own_methods
from tests.house.plan import (
    CLASS_METHODS_MAX,
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    LINE_LENGTH_MAX,
    ROOMS,
)
from tests.house.reading import ROOT, Module, house, other_roots

RATCHET = Path(__file__).with_name("ratchet.json")


def oversize(modules: Mapping[str, Module]) -> dict[str, int]:
    """Everything over its limit, with its size."""
    found, classes = {}, Classes(modules)
    for module in modules.values():
        lines = len(module.text.splitlines())
        if lines > FILE_LINES_MAX:
            found[module.path] = lines
        for name, node in _definitions(module.tree):
            if isinstance(node, ast.ClassDef):
                is_product = module.room in ROOMS
                methods = classes.methods_of(module, node) if is_product else own_methods(node)
                size, limit = len(methods), CLASS_METHODS_MAX
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


def test_methods_are_counted_over_bases_wherever_these_are() -> None:
    ten = "".join(f"    def m{i}(self): ...\n" for i in range(10))
    six = "".join(f"    def n{i}(self): ...\n" for i in range(6))
    mixin = Module("perdure.mixin", "mixin.py", f"class Mixin:\n{ten}")
    text = f"from perdure.mixin import Mixin\nclass User(Mixin[int]):\n{six}"
    user = Module("perdure.user", "user.py", text)

    assert oversize({"perdure.mixin": mixin, "perdure.user": user}) == {"user.py:User": 16}


def test_names_of_temporals_class_are_not_counted() -> None:
    own = "".join(f"    def m{i}(self): ...\n" for i in range(15))
    theirs = "".join(f"    def {name}(self): ...\n" for name in ("start_workflow", "config"))
    text = f"class Client:\n{own}{theirs}"

    assert oversize({"perdure.x": Module("perdure.x", "x.py", text)}) == {}
    assert oversize({"perdure_views.x": Module("perdure_views.x", "x.py", text)}) == {
        "x.py:Client": 17
    }


def test_what_is_just_within_its_limit_passes() -> None:
    function = "def f():\n" + "    x = 1\n" * 59
    overloads = "    @overload\n    def m(self): ...\n" * 20
    text = f"{function}class C:\n{overloads}"

    assert oversize({"m": Module("m", "m.py", text)}) == {}
    assert long_lines({"m": Module("m", "m.py", "x" * 100 + "\n" + "x" * 101)}) == ["m.py:2"]
