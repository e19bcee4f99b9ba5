"""The table of names that workflow code must not call, with reason and replacement."""

from __future__ import annotations

import importlib
from typing import Final, NamedTuple

from perdure_actors.replay.guard_tables import (
    BUILTINS,
    CLASSES,
    MODULES,
    NEEDED_ARGUMENTS,
    advice_for,
)

_IO: Final = "do it in an activity"
_REASONS: Final = {
    "time": "it asks the machine's clock, or holds its thread",
    "datetime": "it asks the machine's clock",
    "random": "it draws from a generator that replay does not have",
    "uuid": "it makes another id in replay",
    "os": "it asks the machine, which may be another one in replay",
    "posixpath": "it looks at the disk",
    "secrets": "it draws from a generator that replay does not have",
    "socket": "it speaks to the network",
    "subprocess": "it starts a process",
    "threading": "threads run in an order that replay cannot repeat",
}
# Beyond what the guards replace: by whole modules, or by name.
_PACKAGES: Final = {
    "requests": ("it speaks to the network", _IO),
    "httpx": ("it speaks to the network", _IO),
    "aiohttp": ("it speaks to the network", _IO),
    "urllib3": ("it speaks to the network", _IO),
    "urllib.request": ("it speaks to the network", _IO),
    "http.client": ("it speaks to the network", _IO),
    "smtplib": ("it speaks to the network", _IO),
    "ftplib": ("it speaks to the network", _IO),
    "boto3": ("it speaks to the network", _IO),
    "psycopg": ("it speaks to a database", _IO),
    "psycopg2": ("it speaks to a database", _IO),
    "asyncpg": ("it speaks to a database", _IO),
    "sqlite3": ("it speaks to a database", _IO),
    "redis": ("it speaks to a database", _IO),
    "shutil": ("it looks at or changes the disk", _IO),
    "tempfile": ("it writes to the disk", _IO),
    "numpy.random": (
        "it draws from a generator that replay does not have",
        "seed numpy.random.default_rng from workflow.random()",
    ),
    "multiprocessing": ("it starts processes", _IO),
}
_NAMES: Final = {
    "asyncio.to_thread": ("it runs code in a thread", "run it in an activity"),
    "asyncio.run": ("the host runs the loop", "await the coroutine"),
    "asyncio.new_event_loop": ("the host runs the loop", "use asyncio's functions as they are"),
    "asyncio.open_connection": ("it speaks to the network", _IO),
    "asyncio.start_server": ("it speaks to the network", _IO),
    "asyncio.create_subprocess_exec": ("it starts a process", _IO),
    "asyncio.create_subprocess_shell": ("it starts a process", _IO),
    "concurrent.futures.ThreadPoolExecutor": ("it starts threads", "use asyncio's tasks"),
    "concurrent.futures.ProcessPoolExecutor": ("it starts processes", _IO),
}
_SEEDED: Final = frozenset({"numpy.random.default_rng", "numpy.random.RandomState"})
"""Harmless with a seed."""
PATH_METHODS: Final = frozenset(
    {
        "absolute", "chmod", "exists", "expanduser", "glob", "is_dir", "is_file", "iterdir",
        "mkdir", "open", "read_bytes", "read_text", "rename", "resolve", "rglob", "rmdir", "stat",
        "touch", "unlink", "write_bytes", "write_text",
    }
)  # fmt: skip
PATHS: Final = frozenset({"pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath"})
EXECUTORS: Final = frozenset({"run_in_executor"})


class Why(NamedTuple):
    """What is wrong with a call, and what to do."""

    reason: str
    remedy: str


def why_forbidden(name: str, arguments: int) -> Why | None:
    """Why a call of a dotted name with so many arguments cannot be repeated; None when it can."""
    if arguments >= NEEDED_ARGUMENTS.get(name, 1 << 30):
        return None
    if name in _SEEDED and arguments:
        return None
    if name in _NAMES:
        return Why(*_NAMES[name])
    for package, (reason, remedy) in _PACKAGES.items():
        if name.startswith(f"{package}."):
            last = name.rpartition(".")[2]
            # Exceptions and other classes of data are harmless, and begin with a capital.
            return None if last.endswith(("Error", "Exception")) else Why(reason, remedy)
    module, _, function = name.rpartition(".")
    module = "posixpath" if module == "os.path" else module
    if not module:
        return Why("it reads or writes outside of the workflow", _IO) if name in BUILTINS else None
    for kind, methods in CLASSES.items():
        if module == f"{kind.__module__}.{kind.__name__}" and function in methods:
            return Why(_REASONS["datetime"], methods[function])
    return _of_module(module, function, name)


def _of_module(module: str, function: str, name: str) -> Why | None:
    is_forbidden = MODULES.get(module)
    if is_forbidden is None:
        return None
    value = getattr(importlib.import_module(module), function, None)
    needs_seed = name in NEEDED_ARGUMENTS
    if value is None or not (needs_seed or is_forbidden(function, value)):
        return None
    return Why(_REASONS[module], advice_for(module, function))


def environment_read() -> Why:
    """Why the environment cannot be read."""
    return Why(_REASONS["os"], advice_for("os", "environ"))
