"""The classes of the house with the public methods they have, those of their bases included."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.house.reading import Module

NAMES = Path(__file__).parents[1] / "parity" / "temporalio-1.35-names.json"


class Classes:
    """The top-level classes of some modules, found by module and name."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._modules = modules
        self._defined = {
            (module.name, node.name): node
            for module in modules.values()
            for node in module.tree.body
            if isinstance(node, ast.ClassDef)
        }

    def methods_of(self, module: Module, node: ast.ClassDef) -> set[str]:
        """Its public methods and its bases', without those that somebody else dictates.

        That is Temporal's class of the name, and a class of the standard library that it extends.
        A set: the overloads of one method are one method.
        """
        found, dictated = set[str](), set[str]()
        for of, one in self._line(module, node, set()):
            found |= own_methods(one)
            if of.room == "perdure":
                dictated |= _temporal_members().get(one.name, set())
            for base in one.bases:
                dictated |= _library_members(ast.unparse(base))
        return found - dictated

    def _line(
        self, module: Module, node: ast.ClassDef, seen: set[tuple[str, str]]
    ) -> Iterator[tuple[Module, ast.ClassDef]]:
        """A class and what it inherits from, as far as that is defined here."""
        if (module.name, node.name) in seen:
            return
        seen.add((module.name, node.name))
        yield module, node
        for base in node.bases:
            name = base.value if isinstance(base, ast.Subscript) else base
            place = self._place(module, name)
            if place is not None and place in self._defined:
                yield from self._line(self._modules[place[0]], self._defined[place], seen)

    def _place(self, module: Module, name: ast.expr) -> tuple[str, str] | None:
        """Where a base is defined: here, or where it is imported from."""
        if isinstance(name, ast.Attribute):
            owner = self._place(module, name.value)
            return None if owner is None else (".".join(owner), name.attr)
        if not isinstance(name, ast.Name):
            return None
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and not node.level:
                for alias in node.names:
                    if (alias.asname or alias.name) == name.id:
                        return node.module or "", alias.name
        return module.name, name.id


def own_methods(node: ast.ClassDef) -> set[str]:
    """The public methods of a class, without its bases'."""
    return {
        child.name
        for child in node.body
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        and not child.name.startswith("_")
        and not any("property" in ast.unparse(d) for d in child.decorator_list)
    }


@cache
def _temporal_members() -> dict[str, set[str]]:
    """The members of each class of Temporal's SDK, by its name."""
    found: dict[str, set[str]] = {}
    for names in json.loads(NAMES.read_text("utf-8")).values():
        for name, entry in names.items():
            if isinstance(entry, dict):
                found.setdefault(name, set()).update(entry.get("members") or ())
    return found


@cache
def _library_members(base: str) -> set[str]:
    """The names of a class of the standard library, by module and name."""
    module, _, name = base.rpartition(".")
    if module not in sys.stdlib_module_names:
        return set()
    return set(dir(getattr(importlib.import_module(module), name, None)))
