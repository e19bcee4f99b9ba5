"""Threads as the system knows them by name: Python does that itself from 3.14 on."""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Final

_SET_NAME: Final = 15


def name_threads() -> None:
    """Have every thread that is started from now on bear its name, on Linux."""
    if sys.version_info >= (3, 14) or sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    plain = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        short = thread.name.removeprefix("perdure-").encode()[:15]
        library.prctl(_SET_NAME, ctypes.c_char_p(short), 0, 0, 0)
        plain(thread)

    threading.Thread.run = run  # type: ignore[method-assign]
