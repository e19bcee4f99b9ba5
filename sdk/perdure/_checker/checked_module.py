"""A parsed module for the checker: imports, functions, workflow classes."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import Final

Function = ast.FunctionDef | ast.AsyncFunctionDef
DEFN: Final = "perdure.workflow.defn"
ACTIVITY: Final = "perdure.activity.defn"


class ModuleView:
    """What names mean in a module, and what it defines."""

    def __init__(self, tree: ast.Module) -> None:
        self.aliases = aliases_of(tree.body)
        self.functions: dict[str, Function] = {}
        self.classes: dict[str, ast.ClassDef] = {}
        for node in _statements(tree.body):
            if isinstance(node, Function):
                self.functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = node

    def workflows(self) -> Iterator[ast.ClassDef]:
        """The workflow classes that are guarded."""
        for node in self.classes.values():
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                if dotted(called, self.aliases) == DEFN and not any(map(_is_unguarded, keywords)):
                    yield node

    def method(self, cls: ast.ClassDef, name: str) -> tuple[ast.ClassDef, Function] | None:
        """A method of a class, or of a class it is derived from in this module."""
        for node in cls.body:
            if isinstance(node, Function) and node.name == name:
                return cls, node
        for base in cls.bases:
            found = self.classes.get(base.id) if isinstance(base, ast.Name) else None
            if found is not None and found is not cls:
                inherited = self.method(found, name)
                if inherited is not None:
                    return inherited
        return None

    def is_activity(self, function: Function) -> bool:
        """Whether a function is an activity: calling it by its name is another matter."""
        for decorator in function.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if dotted(called, self.aliases) == ACTIVITY:
                return True
        return False


def _is_unguarded(keyword: ast.keyword) -> bool:
    value = keyword.value
    is_off = isinstance(value, ast.Constant) and value.value is False
    return keyword.arg == "sandboxed" and is_off


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those of its conditions included."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(node.body)
            yield from _statements(node.orelse)


def aliases_of(body: list[ast.stmt]) -> dict[str, str]:
    """What imported names stand for, as dotted names."""
    found: dict[str, str] = {}
    for node in _statements(body):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.asname:
                    found[name.asname] = name.name
                else:
                    first = name.name.partition(".")[0]
                    found[first] = first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                found[name.asname or name.name] = f"{node.module}.{name.name}"
        elif isinstance(node, ast.With):
            # with workflow.unsafe.imports_passed_through(): import ...
            found.update(aliases_of(node.body))
    return found


def dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    """The dotted name that an expression stands for; empty when it is none that was imported."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    head = aliases.get(node.id, "")
    return ".".join([head, *reversed(parts)]) if head else ""


def local_names(function: Function | ast.Lambda) -> set[str]:
    """The names that a function binds itself, so that they are not the module's."""
    arguments = function.args
    names = {
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    }
    names |= {one.arg for one in (arguments.vararg, arguments.kwarg) if one is not None}
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names.add(node.id)
        elif isinstance(node, ast.ExceptHandler):
            names.add(node.name or "")
        elif isinstance(node, Function | ast.ClassDef) and node is not function:
            names.add(node.name)
    return names


def single_values(function: Function) -> dict[str, ast.expr]:
    """What the names stand for that a function assigns to once."""
    nodes = list(ast.walk(function))
    stores = (node for node in nodes if isinstance(node, ast.Name))
    often = Counter(node.id for node in stores if isinstance(node.ctx, ast.Store))
    values = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name) and often[target.id] == 1:
                values[target.id] = node.value
    return values


def own_values(cls: ast.ClassDef) -> dict[str, ast.expr]:
    """What the attributes stand for that a class's methods assign to once, as `self.name`."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(cls):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            owner = target.value if isinstance(target, ast.Attribute) else None
            if isinstance(owner, ast.Name) and owner.id == "self":
                assert isinstance(target, ast.Attribute)
                assert isinstance(node, ast.Assign)
                found.setdefault(target.attr, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}
