"""An engine's port is open to its own user's processes: others of the machine are turned away."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.peers import NOBODY, stranger_at
from perdure_topics.remote.remote_log import RemoteLog
from perdure_topics.wire.engine_server import EngineServer
from tests.log_rig import wait_for

OTHER = 65_534


@pytest.fixture
def engine(tmp_path):
    log = EmbeddedLog.open(tmp_path)
    server = EngineServer(log)
    yield server
    server.close()
    log.close()


def said_to(user: int, port: int, request: bytes) -> str:
    """What a process of another user hears."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(user)
            # Not by name: what looks names up is loaded late, and not from where others may read.
            with socket.socket() as line:
                line.settimeout(10)
                line.connect(("127.0.0.1", port))
                line.sendall(request)
                os.write(writing, line.recv(4096))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as heard:
        return heard.read().decode()


LOG = (
    b"GET /log HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PAGE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("request_", [LOG, PAGE], ids=["log", "page"])
def test_another_user_of_the_machine_is_turned_away(engine, request_):
    if os.geteuid() != 0:
        pytest.skip("to be another user needs root")
    own = said_to(os.getuid(), engine.port, request_)
    assert own.startswith(("HTTP/1.1 101", "HTTP/1.1 200"))
    other = said_to(OTHER, engine.port, request_)
    assert other.startswith("HTTP/1.1 403")
    assert f"this is user {OTHER}. Run both as one user" in other


def test_ones_own_processes_are_served(engine):
    log = RemoteLog.connect(engine.address)
    assert log.topic_names() == []
    log.close()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux says whose a socket is")
@pytest.mark.parametrize(
    ("family", "host", "to"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET, "127.0.0.1", "::ffff:127.0.0.1"),
    ],
)
def test_who_has_gone_is_a_stranger_and_who_is_there_is_not(family, host, to):
    """A closed socket is nobody's, and the tables write that as root's."""
    with socket.create_server((host, 0), family=family) as listener:
        line = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
        line.connect((to, listener.getsockname()[1]))
        taken, _ = listener.accept()
        with taken:
            assert stranger_at(taken) is None
            line.sendall(b"do this\n")
            line.close()
            assert wait_for(lambda: stranger_at(taken)) == NOBODY
