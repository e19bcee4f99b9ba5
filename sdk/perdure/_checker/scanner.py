"""The scanner of workflow code: calls found in the source, directly and through functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from perdure._checker.checked_module import (
    Function,
    ModuleView,
    aliases_of,
    dotted,
    local_names,
    own_values,
    single_values,
)
from perdure._checker.forbidden import (
    EXECUTORS,
    PATH_METHODS,
    PATHS,
    Why,
    environment_read,
    why_forbidden,
)

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
IGNORE: Final = "perdure: ignore"
_EFFECTS: Final = frozenset(
    {"perdure.workflow.side_effect", "perdure.workflow.mutable_side_effect"}
)
_UNRESTRICTED: Final = "perdure.workflow.unsafe.sandbox_unrestricted"
_ORDERLESS: Final = frozenset({"set", "frozenset"})
_SKIPPED: Final = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages"})


class Finding(NamedTuple):
    """A call that replay cannot repeat."""

    path: str
    line: int
    column: int
    what: str
    reason: str
    remedy: str
    where: str
    """Which workflow reaches it, and through which functions."""

    def __str__(self) -> str:
        text = f"{self.path}:{self.line}:{self.column}: {self.what}: {self.reason}"
        return f"{text}; {self.remedy} (in {self.where})"


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The Python files of paths, those of directories included.

    Raises FileNotFoundError for a path that is not there.
    """
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            for found in sorted(path.rglob("*.py")):
                parts = found.relative_to(path).parts[:-1]
                if not any(part in _SKIPPED or part.startswith(".") for part in parts):
                    yield found
        else:
            raise FileNotFoundError(f"{path}: there is no such file or directory")


def check_file(path: Path) -> list[Finding]:
    """What is wrong with the workflows of a file."""
    data = path.read_bytes()
    if len(data) > FILE_BYTES_MAX:
        return [_unreadable(path, 1, f"it has {len(data)} bytes; {FILE_BYTES_MAX} is the most")]
    try:
        source = data.decode()
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        return [_unreadable(path, getattr(error, "lineno", None) or 1, str(error))]
    lines = source.splitlines()
    found = _Scan(str(path), tree).run()
    return [one for one in found if IGNORE not in lines[one.line - 1]]


def _unreadable(path: Path, line: int, why: str) -> Finding:
    return Finding(
        str(path), line, 1, "the file", f"cannot be read: {why}", "mend it", "no workflow"
    )


class _Scan:
    """One module, followed from its workflow classes."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self._path = path
        self._view = ModuleView(tree)
        self._seen: set[int] = set()
        self._found: list[Finding] = []

    def run(self) -> list[Finding]:
        for workflow in self._view.workflows():
            for cls in self._lineage(workflow):
                for node in cls.body:
                    if isinstance(node, Function) and not self._view.is_activity(node):
                        self._follow(node, workflow, f"{cls.name}.{node.name}")
        return sorted(set(self._found))

    def _lineage(self, cls: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """A class, and those it is derived from in this module."""
        yield cls
        for base in cls.bases:
            found = self._view.classes.get(base.id) if isinstance(base, ast.Name) else None
            if found is not None and found is not cls:
                yield from self._lineage(found)

    def _follow(self, function: Function, cls: ast.ClassDef | None, where: str) -> None:
        if id(function) in self._seen:
            return
        self._seen.add(id(function))
        aliases = {**self._view.aliases}
        for name in local_names(function):
            aliases.pop(name, None)
        aliases.update(aliases_of(_all_statements(function)))
        values = single_values(function)
        # `now = time.time`: the function by a name of the code's own.
        given = {name: dotted(value, aliases) for name, value in values.items()}
        aliases.update({name: found for name, found in given.items() if found})
        _Body(self, function, cls, where, aliases, values).visit_body(function.body)

    def class_of(self, value: ast.expr | None) -> ast.ClassDef | None:
        """The class of this module that an expression makes an object of."""
        made_by = value.func if isinstance(value, ast.Call) else None
        return self._view.classes.get(made_by.id) if isinstance(made_by, ast.Name) else None

    def add(self, node: ast.expr | ast.stmt, what: str, why: Why, where: str) -> None:
        """Report a call."""
        self._found.append(
            Finding(
                self._path, node.lineno, node.col_offset + 1, what, why.reason, why.remedy, where
            )
        )

    def call(self, name: ast.Name, where: str) -> None:
        """Follow a call of a function of the module, or of a class's constructor."""
        function = self._view.functions.get(name.id)
        if function is not None and not self._view.is_activity(function):
            self._follow(function, None, f"{where} -> {function.name}")
        cls = self._view.classes.get(name.id)
        for method in ("__init__", "__post_init__") if cls is not None else ():
            assert cls is not None
            found = self._view.method(cls, method)
            if found is not None:
                self._follow(found[1], cls, f"{where} -> {cls.name}.{method}")

    def call_method(self, cls: ast.ClassDef, name: str, where: str) -> None:
        """Follow a call of a method of the same object."""
        found = self._view.method(cls, name)
        if found is not None:
            self._follow(found[1], cls, f"{where} -> {name}")


def _all_statements(function: Function) -> list[ast.stmt]:
    return [node for node in ast.walk(function) if isinstance(node, ast.stmt)]


class _Body(ast.NodeVisitor):
    """The body of one function."""

    def __init__(
        self,
        scan: _Scan,
        function: Function,
        cls: ast.ClassDef | None,
        where: str,
        aliases: dict[str, str],
        values: dict[str, ast.expr],
    ) -> None:
        self._scan = scan
        self._cls = cls
        self._where = where
        self._aliases = aliases
        self._values = values
        self._locals = local_names(function)
        self._exempt = _given_to_effects(function, aliases)

    def visit_body(self, body: list[ast.stmt]) -> None:
        """Look at statements."""
        for node in body:
            self.visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function within: it is called from here, unless a side effect calls it."""
        if node.name not in self._exempt:
            self.visit_body(node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """The same."""
        self.visit_body(node.body)

    def visit_With(self, node: ast.With) -> None:
        """A block that switches the guards off is its author's own risk."""
        for item in node.items:
            called = item.context_expr
            if isinstance(called, ast.Call) and dotted(called.func, self._aliases) == _UNRESTRICTED:
                return
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """A call: forbidden, or followed."""
        name = dotted(node.func, self._aliases)
        if name in _EFFECTS:
            # What a side effect does is recorded, and may be anything.
            return
        if not name and isinstance(node.func, ast.Name) and node.func.id not in self._locals:
            self._scan.call(node.func, self._where)
            name = "" if node.func.id in self._scan._view.functions else node.func.id
        why = why_forbidden(name, len(node.args) + len(node.keywords)) if name else None
        if why is not None:
            self._scan.add(node, f"{name}()", why, self._where)
        elif isinstance(node.func, ast.Attribute):
            self._attribute_call(node, node.func)
        self.generic_visit(node)

    def _attribute_call(self, node: ast.Call, func: ast.Attribute) -> None:
        owner = func.value
        if isinstance(owner, ast.Name) and owner.id in ("self", "cls") and self._cls is not None:
            self._scan.call_method(self._cls, func.attr, self._where)
        made = self._scan.class_of(self._value_of(owner))
        if made is not None:
            self._scan.call_method(made, func.attr, f"{self._where} -> {made.name}")
        is_path = isinstance(owner, ast.Call) and dotted(owner.func, self._aliases) in PATHS
        if is_path and func.attr in PATH_METHODS:
            why = Why("it looks at or changes the disk", "do it in an activity")
            self._scan.add(node, f"Path.{func.attr}()", why, self._where)
        elif func.attr in EXECUTORS:
            why = Why("it runs code in a thread", "run it in an activity")
            self._scan.add(node, f"{func.attr}()", why, self._where)

    def _value_of(self, owner: ast.expr) -> ast.expr | None:
        """What an object was made by, where it is seen: a name, an attribute of self, a call."""
        if isinstance(owner, ast.Name):
            return self._values.get(owner.id)
        if isinstance(owner, ast.Attribute) and self._cls is not None:
            is_own = isinstance(owner.value, ast.Name) and owner.value.id == "self"
            return own_values(self._cls).get(owner.attr) if is_own else None
        return owner

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """The environment, however it is read."""
        name = dotted(node, self._aliases)
        if name == "os.environ":
            self._scan.add(node, "os.environ", environment_read(), self._where)
            return
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """The environment by a name of its own."""
        if self._aliases.get(node.id) == "os.environ" and isinstance(node.ctx, ast.Load):
            self._scan.add(node, "os.environ", environment_read(), self._where)

    def visit_For(self, node: ast.For) -> None:
        """A loop that does something durable in an order that strings' hashes choose."""
        if self._is_orderless(node.iter) and any(
            isinstance(inner, ast.Await) for one in node.body for inner in ast.walk(one)
        ):
            why = Why("its order is another one in each process", "go through sorted(...) of it")
            self._scan.add(node.iter, "a loop over a set", why, self._where)
        self.generic_visit(node)

    def _is_orderless(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return False
        return node.func.id in _ORDERLESS and node.func.id not in self._locals


def _given_to_effects(function: Function, aliases: dict[str, str]) -> set[str]:
    """The names that are handed to side effects."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and dotted(node.func, aliases) in _EFFECTS:
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            names |= {one.id for one in given if isinstance(one, ast.Name)}
    return names
