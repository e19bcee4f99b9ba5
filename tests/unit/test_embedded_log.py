"""The embedded log keeps the contract of every log."""

from __future__ import annotations

import pytest

from perdure_topics.embedded.embedded_log import EmbeddedLog
from tests.log_contract import GroupContract, ReadingContract, WritingContract


@pytest.fixture
def make_log(tmp_path):
    log = EmbeddedLog.open(tmp_path)
    yield lambda: log
    log.close()


class TestWriting(WritingContract):
    """A writer on the embedded log."""


class TestReading(ReadingContract):
    """A reader of the embedded log."""


class TestGroups(GroupContract):
    """A consumer group on the embedded log."""
