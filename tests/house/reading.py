"""How the house tests read the house: modules with their syntax trees, and who imports whom."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.house.plan import OTHER_ROOTS, ROOMS

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """One source file, read and parsed."""

    name: str
    path: str
    text: str

    @property
    def room(self) -> str:
        """The top package that the module belongs to."""
        return self.name.partition(".")[0]

    @property
    def is_package(self) -> bool:
        """Whether the file is the `__init__` of its package."""
        return self.path.endswith("__init__.py")

    @property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return _parsed(self.text, self.path)


@dataclass(frozen=True)
class Import:
    """One imported name, absolute, and where it stands."""

    name: str
    line: int


@cache
def _parsed(text: str, path: str) -> ast.Module:
    return ast.parse(text, path)


@cache
def house() -> Mapping[str, Module]:
    """Every module of the five rooms, by name."""
    found = {}
    for room, folder in ROOMS.items():
        for path in sorted((ROOT / folder / room).rglob("*.py")):
            module = _read(path, ROOT / folder)
            found[module.name] = module
    return found


@cache
def other_roots() -> Mapping[str, Module]:
    """Every module of the tests, the examples and the benchmarks, by name."""
    found = {}
    for folder in OTHER_ROOTS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = _read(path, ROOT)
            found[module.name] = module
    return found


def _read(path: Path, source_root: Path) -> Module:
    parts = path.relative_to(source_root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(name, str(path.relative_to(ROOT)), path.read_text("utf-8"))


def imports_of(module: Module, known: Iterable[str] = ()) -> Iterator[Import]:
    """What a module imports anywhere in it, type-only and late imports included.

    `from package import name` is `package.name` when that is a known module.
    """
    names = frozenset(known)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            for alias in node.names:
                full = f"{source}.{alias.name}"
                yield Import(full if full in names else source, node.lineno)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    kept = len(parts) - node.level + (1 if module.is_package else 0)
    return ".".join([*parts[:kept], *([node.module] if node.module else [])])


def within(name: str, packages: Iterable[str]) -> bool:
    """Whether a dotted name is one of the packages or stands inside one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def arrows(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Which of the modules each module imports."""
    return {
        name: {found.name for found in imports_of(module, modules) if found.name in modules}
        for name, module in modules.items()
    }


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1 or node in graph[node]:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found
