"""An engine's log in a process of its own, for tests that kill it: python -m tests.engine_process.

Arguments: a directory, a port (0 for any). It prints its port and serves until it is killed.
"""

from __future__ import annotations

import subprocess
import sys
import threading

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.wire.engine_server import EngineServer


def start_engine(directory: str, port: int = 0) -> tuple[subprocess.Popen[str], int]:
    """Start an engine and wait until it listens; its process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.engine_process", directory, str(port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def main() -> None:
    """Serve until killed."""
    log = EmbeddedLog.open(sys.argv[1])
    print(EngineServer(log, port=int(sys.argv[2])).port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
