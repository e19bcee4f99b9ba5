"""The benchmark beside peers runs ours, prints its table, and leaves no process behind."""

from __future__ import annotations

import asyncio
import http.server
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.peers.http_client import LeanHttp
from benchmarks.peers.processes import Processes, tree_cpu_s

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(180)]
ROOT = Path(__file__).resolve().parents[2]


def test_it_runs_the_work_and_prints_its_table() -> None:
    words = [sys.executable, "-m", "benchmarks.peers", "--only", "perdure-embedded"]
    words += ["--rounds", "1", "--in-flight", "1,3", "--orders", "9", "--fan-out", "5"]
    words += ["--sequence", "5", "--idle-s", "0"]

    done = subprocess.run(words, check=False, cwd=ROOT, capture_output=True, text=True, timeout=170)

    assert done.returncode == 0, done.stderr
    assert "PGO build" in done.stdout
    measures = ("cold start", "1 in flight, p50", "3 in flight, workflows", "fan-out", "sequence")
    for measure in measures:
        assert measure in done.stdout, done.stdout + done.stderr


def test_what_an_engine_started_is_ended_with_what_that_started(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '600'])"
    processes = Processes(tmp_path)
    parent = processes.start("parent", [sys.executable, "-c", code])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    while not (found := children.read_text().split()):
        assert parent.poll() is None

    assert tree_cpu_s(parent.pid) >= 0.0
    processes.stop()

    assert parent.poll() is not None
    command = Path(f"/proc/{found[0]}/cmdline")
    # A killed process is gone a moment later, and its file with it.
    with suppress(OSError):
        while command.read_bytes().startswith(b"sleep"):
            pass


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200 if self.path == "/good" else 500)
        if self.path == "/good":
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for part in (body[:3], body[3:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_the_lean_client_posts_over_open_connections_and_says_what_failed() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def talk() -> None:
        client = LeanHttp("127.0.0.1", server.server_port)
        for number in range(3):
            assert await client.post("/good", {"number": number}) == {"number": number}
        assert len(client._free) == 1
        with pytest.raises(RuntimeError, match="/bad: 500"):
            await client.post("/bad", "what was asked")
        await client.close()

    asyncio.run(talk())
    server.shutdown()
    server.server_close()
