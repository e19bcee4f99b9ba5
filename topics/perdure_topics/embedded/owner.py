"""Who owns the directory of an embedded log while it is looked at, before RocksDB locks it."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_here: Final[set[str]] = set()
"""The directories that are open in this process."""
_lock: Final = Lock()


def take(directory: Path) -> None:
    """Own a directory in this process until `let_go`. Raises LogError when it is open already."""
    with _lock:
        path = os.path.realpath(directory)
        if path in _here:
            raise in_use(directory)
        _here.add(path)


def let_go(directory: Path) -> None:
    """Let others have the directory."""
    with _lock:
        _here.discard(os.path.realpath(directory))


@contextmanager
def kept_from_others(directory: Path) -> Iterator[None]:
    """Hold RocksDB's own lock file. Raises LogError while another process does.

    Only for a directory that is not open here: to close any handle of a file lets go of all the
    locks that the process has on it.
    """
    file = os.open(directory / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise in_use(directory) from error
        yield
    finally:
        os.close(file)


def in_use(directory: Path) -> LogError:
    """What to say of a directory that somebody else owns."""
    return LogError(
        f"{directory} is in use by another process. One process owns a data directory: run "
        f"`perdure engine MODULE --data DIR` there and connect the others to its http:// address, "
        f"or stop it first"
    )
