"""What deciding reaches assigns nothing: what a command brings about is in what is returned."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.house.reading import Module, house, within

CORE = "perdure_actors.core"
APPLIES = ("apply", "open_run", "Run.")
"""What changes runs, and is no part of deciding."""
TABLES = ("COMMANDS", "OUTPUTS", "ERRANDS", "CHECKS", "FITS", "ALARMS", "EFFECTS")
"""The tables of `core.rules` whose rows decide."""
COMMANDS = ("command", "ask", "report", "outcome")
MUTATORS = frozenset(
    ("append", "add", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "update")
)


def functions(modules: Mapping[str, Module]) -> dict[str, ast.FunctionDef]:
    """Every function at the top of a module of the core, by module and name."""
    return {
        f"{name}.{node.name}": node
        for name, module in modules.items()
        if within(name, [CORE])
        for node in module.tree.body
        if isinstance(node, ast.FunctionDef)
    }


def names_in(name: str, module: Module) -> dict[str, str]:
    """What the names of a module stand for, where that is a module or function of the core."""
    known: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and within(node.module or "", [CORE]):
            known |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    own = (node.name for node in module.tree.body if isinstance(node, ast.FunctionDef))
    return known | {one: f"{name}.{one}" for one in own}


def called(node: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    """The functions of the core that some code names."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in known:
            yield known[part.id]
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            yield f"{known.get(part.value.id, '')}.{part.attr}"


def deciding(modules: Mapping[str, Module]) -> dict[str, ast.FunctionDef]:
    """The functions that the rows of the deciding tables reach."""
    every = functions(modules)
    known = {name: names_in(name, module) for name, module in modules.items()}
    rules = f"{CORE}.rules"
    waiting = [
        found
        for node in modules[rules].tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id in TABLES and node.value is not None
        for found in called(node.value, known[rules])
    ]
    reached: dict[str, ast.FunctionDef] = {}
    while waiting:
        name = waiting.pop()
        if name in every and name not in reached:
            reached[name] = every[name]
            waiting += called(every[name], known[name.rpartition(".")[0]])
    return reached


def writes(modules: Mapping[str, Module]) -> Iterator[str]:
    """What deciding writes to anything but names of its own."""
    for name, function in deciding(modules).items():
        own = {
            part.id
            for part in ast.walk(function)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        }
        for part in ast.walk(function):
            if isinstance(part, ast.Attribute) and not isinstance(part.ctx, ast.Load):
                yield f"{name}:{part.lineno} assigns {ast.unparse(part)}"
            elif isinstance(part, ast.Subscript) and not isinstance(part.ctx, ast.Load):
                if not _is_own(part.value, own):
                    yield f"{name}:{part.lineno} assigns {ast.unparse(part)}"
            elif (
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Attribute)
                and part.func.attr in MUTATORS
                and not _is_own(part.func.value, own)
            ):
                yield f"{name}:{part.lineno} calls {ast.unparse(part.func)}"


def _is_own(value: ast.expr, own: set[str]) -> bool:
    """Whether something is of a name that the function itself has made."""
    while isinstance(value, ast.Attribute | ast.Subscript):
        value = value.value
    return isinstance(value, ast.Name) and value.id in own


def untyped(modules: Mapping[str, Module]) -> Iterator[str]:
    """Where the core or a partition asks a command for what its type does not say."""
    for name, module in modules.items():
        if not within(name, [CORE, "perdure_actors.partition"]):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.arg) and node.arg in COMMANDS and node.annotation is not None:
                if ast.unparse(node.annotation) == "Any":
                    yield f"{name}:{node.lineno} takes {node.arg}: Any"
            elif (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "getattr"
                and ast.unparse(node.args[0]) in COMMANDS
            ):
                yield f"{name}:{node.lineno} has {ast.unparse(node)}"


def test_commands_are_asked_by_type() -> None:
    assert list(untyped(house())) == []


@pytest.mark.parametrize("text", ["def f(command: Any): ...", "getattr(command, 'reply', None)"])
def test_a_planted_command_without_a_type_is_found(text: str) -> None:
    name = "perdure_actors.partition.inbox"

    assert len(list(untyped({name: Module(name, "inbox.py", text)}))) == 1


def test_deciding_writes_nothing() -> None:
    assert list(writes(house())) == []


def test_deciding_is_all_that_the_tables_reach() -> None:
    reached = deciding(house())

    assert f"{CORE}.attempts.decide_claim" in reached
    assert f"{CORE}.start._invalid_start" in reached, "what a row's function calls is reached too"
    assert not [name for name in reached if name.rpartition(".")[2].startswith(APPLIES)]


@pytest.mark.parametrize(
    "line",
    [
        "world.liveness.taken_over_ms = 1",
        "world.leases['w'] = 1",
        "run.state.seq += 1",
        "found = run; found.begun = True",
        "run.touched.add(('activity', '1'))",
        "del run.activities['1']",
    ],
)
def test_a_planted_write_is_found(line: str) -> None:
    sources = {
        f"{CORE}.rules": "from perdure_actors.core import one\nCOMMANDS = {int: one.decide}",
        f"{CORE}.one": (
            "from perdure_actors.core.two import helper\n"
            "def decide(world, command, now_ms):\n    return helper(world, command)"
        ),
        f"{CORE}.two": f"def helper(world, run):\n    {line}",
    }
    modules = {name: Module(name, f"{name}.py", text) for name, text in sources.items()}

    assert len(list(writes(modules))) == 1
