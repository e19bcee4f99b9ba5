"""An engine's log over loopback keeps the contract of every log."""

from __future__ import annotations

import pytest

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.remote.remote_log import RemoteLog
from perdure_topics.wire.engine_server import EngineServer
from tests.log_contract import GroupContract, ReadingContract, WritingContract
from tests.log_rig import Contract


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


class OwnersRecords(Contract):
    """What only the engine's own process may write and cut, it does."""

    @pytest.fixture(autouse=True)
    def _owner(self, engine):
        self._log, _ = engine

    def write(self, log, wait, topic, partition, values):  # type: ignore[override]
        return Contract.write(self._log, wait, topic, partition, values)

    def cut(self, log, topic, partition, offset):  # type: ignore[override]
        self._log.delete_before(topic, partition, offset)


class TestWriting(WritingContract):
    """A writer in another process."""

    host_role = "commands"


class TestReading(OwnersRecords, ReadingContract):
    """A reader in another process."""

    host_role = "commands"


class TestGroups(OwnersRecords, GroupContract):
    """A consumer group with members in other processes."""
