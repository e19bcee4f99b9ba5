"""Attacks on answers: who may only read sees their own, and can put none into another's hands."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator

import msgspec
import pytest

from perdure_schemas.answers.run_pages import Mark
from perdure_schemas.avro import decode_as, encode
from perdure_schemas.commands import DescribeWorkflow
from perdure_schemas.payloads import ReplyTo
from perdure_schemas.replies import Reply
from perdure_topics.names import PARTITIONS_DEFAULT, partition_of
from perdure_topics.remote.remote_log import RemoteLog
from perdure_views.gateway.principals import Register, TokenList
from perdure_views.gateway.settings import Settings
from tests.log_rig import collect_reports, no_bell, wait_for
from tests.web.shop import TASK_QUEUE
from tests.web.site import Caller, Site

pytestmark = pytest.mark.embedded
RITA = "reader-token-0123456789"
RALF = "other-reader-token-0123456789"
REPLIES = "default.replies"
COMMANDS = f"default.{TASK_QUEUE}.commands"
RUN = "answers-1"


class Asker:
    """Somebody who speaks the protocol themselves: asks under any id, and sees what comes."""

    def __init__(self, url: str, token: str) -> None:
        self._log = RemoteLog.connect(url, api_key=token)
        self._writer = self._log.appender(on_ready=no_bell)
        self._tail = self._log.tail(on_ready=no_bell, committed=False)
        self._tail.assign(REPLIES, 0, self._log.offsets(REPLIES, 0)[1])
        self.seen: list[str] = []

    def ask(self, correlation_id: str) -> None:
        """Ask how a run stands; the answer is to go to this id."""
        reply = ReplyTo(partition=0, correlation_id=correlation_id)
        record = DescribeWorkflow(workflow_id=RUN, reply=reply)
        place = partition_of(RUN, PARTITIONS_DEFAULT)
        self._writer.append(COMMANDS, place, encode(record), key=RUN.encode())
        (report,) = collect_reports(self._writer, wait_for, 1)
        assert report.error is None

    def wait(self, correlation_id: str) -> None:
        """Read on until an answer has come."""

        def came() -> bool:
            for record in self._tail.take(REPLIES, 0, 100):
                if record.value is not None:
                    self.seen.append(decode_as(Reply, record.value).correlation_id)
            return correlation_id in self.seen

        wait_for(came)

    def close(self) -> None:
        """Let go."""
        self._writer.close()
        self._tail.close()
        self._log.close()


@pytest.fixture
def askers(site: Site) -> Iterator[tuple[Asker, Asker]]:
    """Two who may read, at one gateway."""
    tokens = TokenList.of_text(f"read rita {RITA}\nread ralf {RALF}", where="here")
    url = site.serve(Settings(port=0, register=Register([tokens])))
    site.execute("Greeting", "ada", id=RUN)
    both = Asker(url, RITA), Asker(url, RALF)
    yield both
    for one in both:
        one.close()


def test_a_reader_sees_their_own_replies_only(askers: tuple[Asker, Asker]) -> None:
    rita, ralf = askers

    rita.ask("of-rita")
    rita.wait("of-rita")
    ralf.ask("of-ralf")
    ralf.wait("of-ralf")

    assert [seen for seen in ralf.seen if seen] == ["of-ralf"]


def test_nobody_has_an_answer_sent_to_another(askers: tuple[Asker, Asker]) -> None:
    rita, ralf = askers

    ralf.ask("guessed")
    ralf.wait("guessed")
    rita.ask("mine")
    rita.wait("mine")

    assert [seen for seen in rita.seen if seen] == ["mine"]


def token_of(*marks: Mark) -> str:
    packed = zlib.compress(msgspec.msgpack.encode(marks))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


@pytest.mark.parametrize(
    "marks",
    [
        (Mark(TASK_QUEUE, 99_999),),
        (Mark(TASK_QUEUE, -1),),
        (Mark("another", 0),),
        (Mark("../x", 0),),
        tuple(Mark(TASK_QUEUE, 0) for _ in range(2_000)),
        (Mark(TASK_QUEUE, 0, b"x" * 100_000),),
    ],
)
def test_a_page_token_sends_no_questions_elsewhere(caller: Caller, marks: tuple[Mark, ...]) -> None:
    answer = caller.get("/api/v1/workflows", page=token_of(*marks))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")


@pytest.mark.parametrize("path", ["/api/v1/workflows", "/api/v1/workflows/count"])
@pytest.mark.parametrize(
    "query",
    [
        f"ExecutionDuration > '{'9' * 400}d'",
        f"ExecutionDuration > '{'9' * 5_000}:00:00'",
        f"HistoryLength > {'9' * 5_000}",
        f"CloseTime > {'9' * 400}e99",
        "NOT " * 2_000 + "x = 1",
    ],
)
def test_a_filter_with_a_monstrous_value_is_refused(caller: Caller, path: str, query: str) -> None:
    answer = caller.get(path, query=query)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert len(answer.text) < 1_000
