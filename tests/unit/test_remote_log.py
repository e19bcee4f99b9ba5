"""An engine's log over loopback keeps the contract of every log."""

from __future__ import annotations

import pytest

from perdure_topics.embedded import EmbeddedLog
from perdure_topics.engine_server import EngineServer
from perdure_topics.remote import RemoteLog
from tests.log_contract import GroupContract, ReadingContract, WritingContract


@pytest.fixture
def engine(tmp_path):
    log = EmbeddedLog.open(tmp_path)
    server = EngineServer(log)
    yield log, server
    server.close()
    log.close()


@pytest.fixture
def make_log(engine):
    _, server = engine
    opened = []

    def connect():
        opened.append(RemoteLog.connect(server.address))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


class TestWriting(WritingContract):
    """A writer in another process."""

    host_role = "commands"


class TestReading(ReadingContract):
    """A reader in another process."""

    host_role = "commands"


class TestGroups(GroupContract):
    """A consumer group with members in other processes."""
