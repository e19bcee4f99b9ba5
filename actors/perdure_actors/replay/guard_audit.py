"""The audit hook: files, sockets and subprocesses that workflow code reaches through libraries."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from perdure_actors.replay.guard import refuse
from perdure_actors.replay.loop import Loop

FRAMES_MAX = 40

_EVENTS = frozenset(
    {
        "open", "os.chdir", "os.chmod", "os.chown", "os.exec", "os.fork", "os.forkpty",
        "os.kill", "os.link", "os.listdir", "os.mkdir", "os.posix_spawn", "os.putenv",
        "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.spawn", "os.startfile",
        "os.symlink", "os.system", "os.truncate", "os.unsetenv", "os.utime", "shutil.copyfile",
        "shutil.rmtree", "socket.bind", "socket.connect", "socket.getaddrinfo",
        "socket.gethostbyname", "socket.__new__", "sqlite3.connect", "subprocess.Popen",
        "tempfile.mkdtemp", "tempfile.mkstemp", "urllib.Request",
    }
)  # fmt: skip

# What these open they open for their own purposes: messages, tracebacks, modules, time zones.
_PASSING = frozenset(
    {
        "_frozen_importlib", "_frozen_importlib_external", "encodings", "gettext", "importlib",
        "inspect", "linecache", "locale", "logging", "perdure", "perdure_actors",
        "perdure_schemas", "pkgutil", "tokenize", "traceback", "warnings", "zipimport",
        "zoneinfo",
    }
)  # fmt: skip

_running_loop = asyncio._get_running_loop
_installed: list[Callable[..., None]] = []


def install() -> None:
    """Add the hook to this process, once; Python has no way to take one off again."""
    if not _installed:
        _installed.append(_hook)
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS and _running_loop().__class__ is Loop and not _is_passing():
        detail = f" of {args[0]!r}" if args and isinstance(args[0], str | bytes | int) else ""
        refuse(f"{event}{detail}", "do it in an activity")


def _is_passing() -> bool:
    """Whether the nearest library on the stack that is not merely a way to files may do so."""
    frame = sys._getframe(2)
    for _ in range(FRAMES_MAX):
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top in _PASSING:
            return True
        if top not in sys.stdlib_module_names or frame.f_back is None:
            return False
        frame = frame.f_back
    return False
