"""The lines between a worker and the processes of its pool, without a worker."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from perdure_actors.worker.processes import ProcessExecutor


def _nothing(*_: Any) -> None:
    """Nobody is told."""


def test_hanging_up_does_not_wait_for_a_caller_that_says_nothing() -> None:
    with ThreadPoolExecutor(1) as pool, socket.socket(socket.AF_UNIX) as silent:
        executor = ProcessExecutor(pool, deliver=_nothing, beat=_nothing)
        silent.connect(executor.address)
        assert silent.recv(1), "it was not asked who it is"

        executor.close()
