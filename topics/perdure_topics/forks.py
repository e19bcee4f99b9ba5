"""What a process that was forked must not touch: threads and open files are its parent's."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final
from weakref import WeakSet

_holders: Final[WeakSet[Any]] = WeakSet()
_registered = False


def keep_in_forks(holder: object) -> None:
    """Never free in a forked process what holds a database or a client of a broker.

    To free one waits for threads that a fork has not, or closes the files of its parent: such a
    process was seen to hang, and to crash, as it ended.
    """
    global _registered
    _holders.add(holder)
    if not _registered:
        _registered = True
        os.register_at_fork(after_in_child=_keep)


def _keep() -> None:
    for holder in list(_holders):
        # One reference more than anybody knows of: not even the interpreter's end frees it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(holder))
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        # RocksDB's own end of a process waits for its threads: it is left out. What the
        # interpreter has to do as it ends comes before this.
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)
