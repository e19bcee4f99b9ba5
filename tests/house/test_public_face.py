"""What a module offers is said in `__all__`, and importing the house does nothing else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping

from tests.house.plan import ROOMS
from tests.house.reading import ROOT, Module, house

FRONT_DOOR = "perdure"

IMPORT_ALL = """
import json, logging, os, signal, sys, threading
before = (dict(os.environ), list(sys.argv), signal.getsignal(signal.SIGINT), os.getcwd())
import importlib
for name in json.loads(sys.stdin.read()):
    importlib.import_module(name)
after = (dict(os.environ), list(sys.argv), signal.getsignal(signal.SIGINT), os.getcwd())
assert after == before, "an import changed the environment, the arguments, a signal or the folder"
assert threading.active_count() == 1, f"an import started {threading.enumerate()}"
assert not logging.getLogger().handlers, "an import set up logging"
"""


def faces(modules: Mapping[str, Module]) -> Iterator[str]:
    """What is wrong with each `__all__`: a name twice, one that is not there, one forgotten."""
    for module in modules.values():
        declared = _declared(module)
        if declared is None:
            continue
        defined, bound = _defined(module), _bound(module)
        if len(set(declared)) < len(declared):
            yield f"{module.path}: a name stands twice in __all__"
        for name in sorted(set(declared) - defined - bound):
            yield f"{module.path}: {name} is in __all__ and nowhere else"
        for name in sorted(defined - set(declared)):
            if not name.startswith("_"):
                yield f"{module.path}: {name} is public and not in __all__"


def _declared(module: Module) -> list[str] | None:
    for node in module.tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if "__all__" in names and isinstance(node, ast.Assign | ast.AnnAssign):
            assert node.value is not None, f"{module.path}: __all__ has no value"
            return list(ast.literal_eval(node.value))
    return None


def _defined(module: Module) -> set[str]:
    return {
        node.name
        for node in module.tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }


def _bound(module: Module) -> set[str]:
    bound = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    return bound


def test_every_all_is_complete() -> None:
    assert list(faces(house())) == []


def test_the_front_door_says_what_it_offers() -> None:
    offering = {name for name, module in house().items() if _declared(module) is not None}

    assert FRONT_DOOR in offering


def test_each_room_is_typed_for_its_users() -> None:
    markers = [ROOT / folder / room / "py.typed" for room, folder in ROOMS.items()]

    assert [str(marker) for marker in markers if not marker.is_file()] == []


def test_no_import_acts() -> None:
    names = [name for name in house() if not name.endswith("__main__")]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_ALL],
        input=json.dumps(names),
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


def test_planted_faces_are_found() -> None:
    text = (
        "import json\n__all__ = ['a', 'gone', 'json', 'x', 'x']\ndef a(): ...\nclass B: ...\nx = 1"
    )

    assert list(faces({"m": Module("m", "m", text)})) == [
        "m: a name stands twice in __all__",
        "m: gone is in __all__ and nowhere else",
        "m: B is public and not in __all__",
    ]
