"""The finder of the alias: `temporalio` and its modules are ours, whoever imports them."""

from __future__ import annotations

import dis
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

ALIAS: Final = "temporalio"
OURS: Final = "perdure"
# The SDK itself. What else lies in its folder are libraries on it, which run on ours as they are.
SDK: Final = frozenset(
    {"activity", "api", "bridge", "client", "common", "contrib", "converter", "envconfig"}
    | {"exceptions", "nexus", "plugin", "runtime", "service", "testing", "types", "worker"}
    | {"workflow"}
)
CONTRIB_NOT_HERE: Final = frozenset({"aws", "gcp", "grpc"})
IMPORT_FROM: Final = dis.opmap["IMPORT_FROM"]


class AliasError(ImportError):
    """The alias cannot take the place of what was imported already."""


def install() -> None:
    """Let `temporalio` mean Perdure from here on; again is nothing more.

    Raises AliasError where the real package has been imported before.
    """
    if any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        return
    if ALIAS in sys.modules:
        where = getattr(sys.modules[ALIAS], "__file__", None) or "somewhere"
        raise AliasError(
            f"temporalio was imported from {where} before its alias: make `import"
            " perdure.as_temporalio` the first line of the program, run it with `python -m"
            " perdure.as_temporalio PROGRAM`, or write the alias into this environment with"
            " `perdure alias --install`"
        )
    sys.meta_path.insert(0, AliasFinder())


class AliasFinder(MetaPathFinder):
    """Finds modules of `temporalio` among ours, and libraries on it where it is installed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of the alias; of others nothing.

        Raises ModuleNotFoundError, which says why, for a module of Temporal's that is not here.
        """
        root, _, name = fullname.partition(".")
        if root != ALIAS:
            return None
        if not name:
            return ModuleSpec(ALIAS, RootLoader(), is_package=True)
        first, second = (*name.split("."), "")[:2]
        # What of Temporal's is private is no module of ours, though ours may have the same name.
        is_private = any(part.startswith("_") for part in name.split("."))
        if not is_private and importlib.util.find_spec(f"{OURS}.{first}") is not None:
            try:
                ours = importlib.util.find_spec(f"{OURS}.{name}")
            except ModuleNotFoundError:
                ours = None
            if ours is not None:
                is_package = ours.submodule_search_locations is not None
                return ModuleSpec(fullname, OursLoader(f"{OURS}.{name}"), is_package=is_package)
        is_library = first not in SDK or (
            first == "contrib" and second and second not in CONTRIB_NOT_HERE
        )
        if is_library and (spec := _installed(fullname)) is not None:
            return spec
        raise ModuleNotFoundError(
            f"{fullname} is not in Perdure: {module_reason(name)}", name=fullname
        )


class RootLoader(Loader):
    """Makes the package `temporalio`, which holds what is imported of it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty package."""
        module = ModuleType(ALIAS, "Perdure under the name of Temporal's SDK.")
        module.__path__ = []
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: its modules are found one by one."""


class OursLoader(Loader):
    """Gives a module of ours under the name that it has at Temporal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Our module, imported under its own name."""
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give it back its own spec, and let it say why a name is not there."""
        module.__spec__ = self._spec
        if "__getattr__" not in vars(module):
            vars(module)["__getattr__"] = _Absent(self._name.removeprefix(f"{OURS}."))


class _Absent:
    """What a module is asked for that it has not: an error with the reason."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __call__(self, name: str) -> Any:
        caller = sys._getframe(1)
        plain = f"module {ALIAS}.{self._module} has no {name!r}"
        if not name.startswith("__"):
            plain += f" in Perdure: {name_reason(self._module, name)}"
            # An AttributeError would be told without its words by `from module import name`.
            if caller.f_code.co_code[caller.f_lasti] == IMPORT_FROM:
                raise ImportError(plain, name=f"{ALIAS}.{self._module}")
        raise AttributeError(plain)


@cache
def _reasons() -> dict[str, dict[str, str]]:
    text = Path(__file__).with_name("absent.json").read_text("utf-8")
    return {module: dict(names) for module, names in json.loads(text).items()}


def name_reason(module: str, name: str) -> str:
    """Why a name of Temporal's is not there, as docs/temporal.md has it."""
    said = _reasons().get(module, {}).get(name)
    if said is not None:
        return f"{said} (see docs/temporal.md)"
    return "SDK 1.35 has no such public name; docs/temporal.md has a row for each it has"


def module_reason(name: str) -> str:
    """Why a module of Temporal's is not there."""
    first = name.partition(".")[0]
    if any(part.startswith("_") for part in name.split(".")):
        return "it is a private module of Temporal's SDK"
    known = {
        "nexus": "there is no Nexus here",
        "bridge": "there is no Rust core here, and no module that speaks to it",
        "api": "no gRPC is spoken here; there are api.common.v1, api.failure.v1 and api.sdk.v1",
        "contrib": "it is no library of ours, and none that is installed and can run on Perdure",
    }
    return known.get(
        first, "SDK 1.35 has no such module, and none is installed; see docs/temporal.md"
    )


@cache
def _installed_paths() -> tuple[str, ...]:
    """Where the real package lies, if it is installed; nothing of the SDK itself is loaded."""
    spec = PathFinder.find_spec(ALIAS)
    return () if spec is None else tuple(spec.submodule_search_locations or ())


def _installed(fullname: str) -> ModuleSpec | None:
    """The spec of a library that lies in the folder of Temporal's package."""
    parents = fullname.split(".")[1:-1]
    paths = [str(Path(path, *parents)) for path in _installed_paths()]
    return PathFinder.find_spec(fullname, paths) if paths else None
