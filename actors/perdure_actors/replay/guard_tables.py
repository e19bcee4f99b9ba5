"""What workflow code must not call, and what it calls instead: tables only."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from typing import Any

IsForbidden = Callable[[str, Any], bool]

_NOW = "use workflow.now(), or workflow.time()"
_SLEEP = "use await asyncio.sleep(), or workflow.sleep(); both are durable"
_CHANCE = "use workflow.random()"
_IO = "do it in an activity"

_CLOCKS = frozenset(
    {
        "asctime", "clock_gettime", "clock_gettime_ns", "ctime", "gmtime", "localtime", "mktime",
        "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "sleep", "strftime", "thread_time", "thread_time_ns", "time", "time_ns",
    }
)  # fmt: skip
_IDS = frozenset({"getnode", "uuid1", "uuid4", "uuid6", "uuid7", "uuid8"})
_PURE_OF_OS = frozenset({"fsdecode", "fsencode", "fspath"})
_PURE_OF_PATH = frozenset(
    {
        "basename", "commonpath", "commonprefix", "dirname", "isabs", "join", "normcase",
        "normpath", "split", "splitdrive", "splitext", "splitroot",
    }
)  # fmt: skip


def _is_error(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _is_drawing(name: str, value: Any) -> bool:
    """The functions of the one generator that all share, and the ones that nobody seeded."""
    is_shared = isinstance(getattr(value, "__self__", None), random.Random)
    return name == "SystemRandom" or is_shared


MODULES: dict[str, IsForbidden] = {
    "time": lambda name, _value: name in _CLOCKS,
    "random": _is_drawing,
    "uuid": lambda name, _value: name in _IDS,
    "datetime": lambda _name, _value: False,
    "os": lambda name, value: not (name in _PURE_OF_OS or name == "PathLike" or _is_error(value)),
    "posixpath": lambda name, _value: name not in _PURE_OF_PATH,
    "secrets": lambda name, _value: name != "compare_digest",
    "socket": lambda _name, value: not _is_error(value),
    "subprocess": lambda _name, value: not _is_error(value),
    "threading": lambda _name, value: not _is_error(value),
}
"""Which callables of a module are forbidden."""

BUILTINS = ("open", "input", "breakpoint")

CLASSES: dict[type, dict[str, str]] = {
    dt.datetime: {
        "now": "use workflow.now()",
        "utcnow": "use workflow.now()",
        "today": "use workflow.now()",
        "fromtimestamp": "give it a time zone; without one it uses the machine's",
    },
    dt.date: {"today": "use workflow.now().date()"},
    random.Random: {},
}
"""Classes that stay themselves but for these methods, and for NEEDED_ARGUMENTS."""

NEEDED_ARGUMENTS = {
    "time.asctime": 1,
    "time.gmtime": 1,
    "time.strftime": 2,
    "random.Random": 1,
    "datetime.datetime.fromtimestamp": 2,
}
"""With so many arguments these ask neither the clock nor the machine."""

_ADVICE = {
    "time": _NOW,
    "random": _CHANCE,
    "uuid": "use workflow.uuid4() or workflow.uuid7()",
    "os": "read it in an activity, or pass it in the input",
    "posixpath": "look at files in an activity",
    "secrets": "make secrets in an activity; workflow.random() is for the rest",
    "socket": _IO,
    "subprocess": _IO,
    "threading": "use asyncio's tasks and locks",
    "builtins": _IO,
}
_ADVICE_FOR = {
    "time.sleep": _SLEEP,
    "os.urandom": "use workflow.random(), or make secrets in an activity",
    "random.Random": "give it a seed, or use workflow.new_random()",
    "builtins.breakpoint": "debug a replay of its history instead",
}


def advice_for(module: str, name: str) -> str:
    """What to do in place of calling a function."""
    return _ADVICE_FOR.get(f"{module}.{name}") or _ADVICE.get(module, _IO)
