"""Ends the process when a thread holds the interpreter and never lets go of it.

Code stuck in C with the interpreter's lock held, such as a regular expression that backtracks for
years, stops every thread of Python, a watchdog's too. So the system's own timers are set, which
call a function of the C library on a thread of their own. Linux has them; elsewhere nothing is
done, and such a process loses its partitions and stays.

`faulthandler.dump_traceback_later` would do nearly the same, but there is one of it in a process,
its status is 1, and a process that was merely stopped for a while would end as it goes on. Hence
two clocks: processor time of the thread, which stands while the process is stopped, and for code
that waits in C a clock of the wall with a limit that few stops reach.
"""

from __future__ import annotations

import ctypes
import sys
import time
import weakref
from typing import Any, Final

STATUS: Final = 70
WALL_S: Final = 45.0
"""By then the process has lost its partitions to others."""
_SAID_BEFORE_S: Final = 0.25
_SIGEV_THREAD: Final = 2
_LABEL_BYTES: Final = 300


class _Event(ctypes.Structure):
    """The C library's `sigevent`."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("rest", ctypes.c_char * 32),
    )


class _Due(ctypes.Structure):
    """The C library's `itimerspec`."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("in_s", ctypes.c_long),
        ("in_ns", ctypes.c_long),
    )


def _due(seconds: float) -> _Due:
    return _Due(0, 0, int(seconds), int(seconds % 1 * 1e9))


def is_available() -> bool:
    """Whether this system has what is needed."""
    return sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8


class LastResort:
    """Timers over one thread. A watchdog renews them for as long as it gets to run."""

    def __init__(self, thread_id: int, *, cpu_s: float, wall_s: float = WALL_S) -> None:
        self._c: Any = ctypes.CDLL(None)
        # Without letting go of the interpreter's lock, which would cost more than the call.
        self._set: Any = ctypes.PyDLL(None).timer_settime
        self._set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._words = ctypes.create_string_buffer(1_024)
        self._label = ""
        self._never = _due(0)
        self._cpu_words, self._cpu_end = _due(cpu_s), _due(cpu_s + _SAID_BEFORE_S)
        self._wall_end = _due(wall_s)
        self._never_at = ctypes.addressof(self._never)
        self._wall_end_at = ctypes.addressof(self._wall_end)
        clock = time.pthread_getcpuclockid(thread_id)
        words = ctypes.addressof(self._words)
        self._speaker = self._timer(clock, self._c.warnx, words)
        self._ender = self._timer(clock, self._c._exit, STATUS)
        self._wall = self._timer(time.CLOCK_MONOTONIC, self._c._exit, STATUS)
        # As the interpreter ends nothing renews them, and ending may take long.
        timers = (self._speaker, self._ender, self._wall)
        self._delete = weakref.finalize(self, _delete, self._c.timer_delete, timers)

    def _timer(self, clock: int, function: Any, value: int) -> int:
        event = _Event(value, 0, _SIGEV_THREAD, ctypes.cast(function, ctypes.c_void_p), None)
        timer = ctypes.c_void_p()
        create = self._c.timer_create
        create.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        if create(clock, ctypes.byref(event), ctypes.byref(timer)):
            raise OSError("the system has no timer left for the watchdog")
        return timer.value or 0

    def begin(self, label: str) -> None:
        """A block begins that may never come back."""
        if label != self._label:
            self._label = label
            self._words.value = _sentence(label)
        self._set(self._wall, 0, self._wall_end_at, None)

    def end(self) -> None:
        """It came back."""
        self._set(self._wall, 0, self._never_at, None)

    def renew(self) -> None:
        """The interpreter is let go of: whoever calls this has it."""
        self._set(self._speaker, 0, ctypes.addressof(self._cpu_words), None)
        self._set(self._ender, 0, ctypes.addressof(self._cpu_end), None)

    def close(self) -> None:
        """Watch no more."""
        self._delete()


def _delete(delete: Any, timers: tuple[int, ...]) -> None:
    delete.argtypes = (ctypes.c_void_p,)
    for timer in timers:
        delete(timer)


def _sentence(label: str) -> bytes:
    """What is said of a workflow; the C library takes it for a format."""
    name = label.encode("utf-8", "replace")[:_LABEL_BYTES].replace(b"\0", b"")
    return (
        b"perdure: workflow '%s' is stuck where Python cannot interrupt it: this process ends with"
        b" status 70, so that its other runs go on elsewhere"
    ) % name.replace(b"%", b"%%")
