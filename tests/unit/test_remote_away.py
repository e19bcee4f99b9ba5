"""What a process sees while its engine is killed, away and back, and what an engine refuses."""

from __future__ import annotations

import http.client
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import time

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_websocket
from websockets.typing import Origin

from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.names import TOPICS, topic_name, topic_settings
from perdure_topics.ports import LogError, LogUnavailableError, Report, TopicSpec
from perdure_topics.remote.link import Link
from perdure_topics.remote.remote_log import RemoteLog
from perdure_topics.wire import engine_session, frames
from perdure_topics.wire.engine_server import EngineServer
from perdure_topics.wire.wire_socket import WireSocket
from tests.engine_process import start_engine
from tests.log_contract import (
    Holder,
    collect,
    collect_group,
    collect_reports,
    no_bell,
    settle,
    wait_for,
)

COMMANDS = topic_name("commands", "ns", "q")
EVENTS = topic_name("events", "ns", "q")
TASKS = topic_name("tasks", "ns", "q")
SPECS = [
    TopicSpec(topic_name(r, "ns", "q"), 2, 1, topic_settings(r)) for r in ("commands", "tasks")
]


class Engine:
    """An engine process that can be killed and started again where it was."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.process, self.port = start_engine(directory)
        self.address = f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def start(self) -> None:
        self.process, _ = start_engine(self.directory, self.port)


@pytest.fixture
def engine(tmp_path):
    one = Engine(str(tmp_path))
    yield one
    one.kill()


@pytest.fixture
def remote(engine):
    log = RemoteLog.connect(engine.address)
    log.create_topics(SPECS)
    yield log
    log.close()


@pytest.fixture
def served(tmp_path):
    log = EmbeddedLog.open(tmp_path)
    log.create_topics([*SPECS, TopicSpec(EVENTS, 2, 1, topic_settings("events"))])
    server = EngineServer(log)
    yield log, server
    server.close()
    log.close()


def append(log: RemoteLog, values: list[bytes]) -> list[Report]:
    appender = log.appender(on_ready=no_bell)
    for value in values:
        appender.append(COMMANDS, 0, value, tag=value)
    reports = collect_reports(appender, wait_for, len(values))
    appender.close()
    return reports


def is_away(log: RemoteLog) -> bool:
    try:
        log.topic_names()
    except LogUnavailableError:
        return True
    return False


def test_a_tail_goes_on_without_gap_or_double_after_sigkill(engine, remote):
    tail = remote.tail(on_ready=no_bell, committed=True)
    tail.assign(COMMANDS, 0, 0)
    append(remote, [b"%d" % n for n in range(20)])
    assert len(collect(tail, wait_for, COMMANDS, 0, 20)) == 20
    engine.kill()
    assert wait_for(lambda: is_away(remote))
    engine.start()
    assert wait_for(lambda: not is_away(remote))
    append(remote, [b"after"])
    got = collect(tail, wait_for, COMMANDS, 0, 1)
    assert [(record.offset, record.value) for record in got] == [(20, b"after")]
    tail.close()


def test_calls_name_the_engine_and_the_log_tells_that_it_is_away_and_back(engine, remote, caplog):
    caplog.set_level(logging.WARNING)
    engine.kill()
    assert wait_for(lambda: is_away(remote))
    with pytest.raises(LogUnavailableError, match=engine.address):
        remote.create_topics(SPECS)
    tail = remote.tail(on_ready=no_bell, committed=True)
    probe = tail.probe_end(COMMANDS, 0)
    with pytest.raises(LogUnavailableError, match=engine.address):
        probe.end()
    engine.start()
    assert wait_for(lambda: not is_away(remote))
    messages = [record.getMessage() for record in caplog.records]
    assert any("cannot be reached" in message for message in messages)
    assert any("is back" in message for message in messages)
    tail.close()


def test_what_is_written_while_the_engine_is_away_lands_when_it_is_back(engine, remote):
    engine.kill()
    assert wait_for(lambda: is_away(remote))
    appender = remote.appender(on_ready=no_bell)
    for at in range(10):
        appender.append(COMMANDS, 1, b"%d" % at, tag=at)
    assert appender.reports() == []
    engine.start()
    reports = collect_reports(appender, wait_for, 10)
    assert [(report.tag, report.offset) for report in reports] == [(n, n) for n in range(10)]
    appender.close()


def test_what_waits_too_long_is_reported_and_ends_the_writer(engine, remote):
    engine.kill()
    assert wait_for(lambda: is_away(remote))
    appender = remote.appender(on_ready=no_bell, timeout_ms=300)
    appender.append(COMMANDS, 0, b"late", tag="late")
    (report,) = collect_reports(appender, wait_for, 1)
    assert (report.tag, report.offset) == ("late", None)
    assert engine.address in (report.error or "")
    with pytest.raises(LogUnavailableError, match="open another"):
        appender.append(COMMANDS, 0, b"more")
    appender.close()
    engine.start()


def test_every_append_is_reported_once_over_a_sigkill_and_acked_ones_are_kept(engine, remote):
    # What had not been sent yet when the engine died is given up after that.
    appender = remote.appender(on_ready=no_bell, timeout_ms=5_000)
    reports: list[Report] = []
    sent = 0
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        for _ in range(50):
            appender.append(COMMANDS, 0, b"%d" % sent, tag=sent)
            sent += 1
        reports += appender.reports()
        time.sleep(0.001)
    for _ in range(500):
        appender.append(COMMANDS, 0, b"%d" % sent, tag=sent)
        sent += 1
    engine.kill()

    def all_reported() -> bool:
        reports.extend(appender.reports())
        return len(reports) >= sent

    assert wait_for(all_reported)
    assert [report.tag for report in reports] == list(range(sent))
    acked = [report for report in reports if report.offset is not None]
    assert acked
    assert len(acked) < sent, "nothing was on its way when the engine was killed"
    engine.start()
    assert wait_for(lambda: not is_away(remote))
    tail = remote.tail(on_ready=no_bell, committed=True)
    tail.assign(COMMANDS, 0, 0)
    found = collect(tail, wait_for, COMMANDS, 0, len(acked))
    assert [record.value for record in found[: len(acked)]] == [str(r.tag).encode() for r in acked]
    tail.close()
    appender.close()


def test_a_group_reader_loses_all_joins_again_and_goes_on_at_its_commits(engine, remote):
    reader = remote.group_reader("workers", COMMANDS, on_ready=no_bell)
    holder = Holder(reader)
    settle(wait_for, [holder], [2])
    appender = remote.appender(on_ready=no_bell)
    for at in range(10):
        appender.append(COMMANDS, 0, b"%d" % at, tag=at)
    collect_reports(appender, wait_for, 10)
    assert len(collect_group(reader, wait_for, 10)) == 10
    reader.commit(0, 6)
    time.sleep(0.3)  # A commit rides in one of the next batches, 50 ms later at most.
    engine.kill()
    assert wait_for(lambda: holder.look() == set())
    assert holder.kinds.count("lost") == 2
    engine.start()
    settle(wait_for, [holder], [2])
    assert [record.offset for record in collect_group(reader, wait_for, 4)] == [6, 7, 8, 9]
    assert reader.redelivery_end(0) == 10
    reader.close()


MEMBER = """
    import sys, time
    from perdure_topics.remote.remote_log import RemoteLog
    log = RemoteLog.connect(sys.argv[1])
    reader = log.group_reader("workers", sys.argv[2], on_ready=lambda: None)
    while len(reader.changes()) == 0:
        time.sleep(0.01)
    print("joined", flush=True)
    time.sleep(60)
"""


def test_a_killed_member_gives_its_partitions_back_at_once(served):
    log, server = served
    command = [sys.executable, "-c", textwrap.dedent(MEMBER), server.address, TASKS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "joined\n"
        holder = Holder(log.group_reader("workers", TASKS, on_ready=no_bell))
        settle(wait_for, [holder], [1])
        child.kill()
        began = time.monotonic()
        settle(wait_for, [holder], [2])
        assert time.monotonic() - began < 2
    holder.member.close()


ROLES = [row.role for row in TOPICS]


@pytest.mark.parametrize("role", ROLES)
def test_another_process_appends_commands_and_nothing_else_and_cuts_nothing(served, role):
    """What it could forge there: events, tasks, answers of hosts, findings, dead letters."""
    log, server = served
    topic = topic_name(role, "ns", "q")
    log.create_topics([TopicSpec(topic, 2, 1, topic_settings(role))])
    remote = RemoteLog.connect(server.address)
    appender = remote.appender(on_ready=no_bell)
    appender.append(topic, 0, b"forged", tag="forged")
    (report,) = collect_reports(appender, wait_for, 1)
    if role == "commands":
        assert report.error is None
    else:
        assert report.offset is None
        assert "the engine's own process only" in (report.error or "")
    with pytest.raises(LogError, match="the engine's own process only"):
        remote.delete_before(topic, 0, 0)
    assert log.place(topic, 0).end == (role == "commands")
    appender.close()
    remote.close()


def test_another_process_makes_topics_of_task_queues_and_not_without_end(served, monkeypatch):
    log, server = served
    remote = RemoteLog.connect(server.address)
    many = TopicSpec("ns.q2.commands", 257, 1, topic_settings("commands"))
    with pytest.raises(LogError, match="at most 256"):
        remote.create_topics([many])
    with pytest.raises(LogError, match="no topic of a task queue"):
        remote.create_topics([many._replace(name="notes", partitions=1)])
    monkeypatch.setattr(engine_session, "TOPICS_MAX", len(log.topic_names()) + 1)
    remote.create_topics([many._replace(partitions=1)])
    remote.create_topics([many._replace(partitions=1)])
    with pytest.raises(LogError, match="makes no more than"):
        remote.create_topics([many._replace(name="ns.q3.commands", partitions=1)])
    remote.close()


def ask(port: int, path: str, headers: dict[str, str]) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    try:
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_health_is_answered_and_foreign_sites_are_refused(served):
    _, server = served
    assert ask(server.port, "/healthz", {}) == (200, "ok\n")
    assert ask(server.port, "/healthz", {"Host": f"localhost:{server.port}"})[0] == 200
    assert ask(server.port, "/nothing", {})[0] == 404
    assert ask(server.port, "/log", {"Host": "evil.example"})[0] == 403
    assert ask(server.port, "/healthz", {"Host": "127.0.0.1.evil.example"})[0] == 403
    assert ask(server.port, "/log", {"Origin": "https://evil.example"})[0] == 403
    assert ask(server.port, "/log", {"Origin": "null"})[0] == 403
    # Another port of this machine, and a name that only looks like it.
    assert ask(server.port, "/log", {"Origin": "http://localhost:3000"})[0] == 403
    assert ask(server.port, "/log", {"Host": f"evil.localhost:{server.port}"})[0] == 403
    for site in ("cross-site", "same-site"):
        assert ask(server.port, "/log", {"Sec-Fetch-Site": site})[0] == 403
    url = f"ws://127.0.0.1:{server.port}/log"
    with pytest.raises(InvalidStatus) as caught:
        connect_websocket(url, origin=Origin("http://evil.example"))
    assert caught.value.response.status_code == 403


def test_only_a_loopback_address_is_served(served):
    log, _ = served
    for host in ("0.0.0.0", "192.0.2.1", "example.com"):
        with pytest.raises(LogError, match="loopback"):
            EngineServer(log, host=host)


def test_another_version_of_the_protocol_is_told_who_must_upgrade(served, monkeypatch):
    _, server = served
    url = f"ws://127.0.0.1:{server.port}/log"
    for version, who in ((frames.VERSION + 1, "upgrade the engine"), (0, "upgrade the client")):
        with connect_websocket(url) as raw:
            raw.send(msgspec.msgpack.encode([[0, version, "9.9.9", "a field of the future"]]))
            answer = msgspec.msgpack.decode(raw.recv(decode=False))
            assert answer[0][0] == 2
            assert who in answer[0][1]
            assert "9.9.9" in answer[0][1]


def test_a_refused_client_says_why_at_once(served, monkeypatch):
    _, server = served
    monkeypatch.setattr("perdure_topics.remote.link.CLIENT_VERSION", frames.VERSION + 1)
    with pytest.raises(LogError, match="upgrade the engine"):
        RemoteLog.connect(server.address)


def read_to_the_end(raw: ClientConnection) -> None:
    while True:
        raw.recv(timeout=5)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([[99]]),
        msgspec.msgpack.encode([[10, 1, 0, [["t", "not a number", b"", None, []]]]]),
        msgspec.msgpack.encode([[30, 1, "group", "no.such.commands", True]]),
    ],
)
def test_a_message_that_cannot_be_read_ends_its_connection_only(served, message):
    _, server = served
    good = RemoteLog.connect(server.address)
    with connect_websocket(f"ws://127.0.0.1:{server.port}/log") as raw:
        raw.send(msgspec.msgpack.encode([[0, frames.VERSION, "1"]]))
        raw.recv()
        raw.send(message)
        with pytest.raises(ConnectionClosed):
            read_to_the_end(raw)
    assert COMMANDS in good.topic_names()
    good.close()


def test_noise_on_the_port_harms_nobody(served):
    _, server = served
    with socket.create_connection(("127.0.0.1", server.port)) as noise:
        noise.sendall(b"\x00\xff" * 10_000)
    remote = RemoteLog.connect(server.address)
    assert COMMANDS in remote.topic_names()
    remote.close()


def test_an_address_that_is_none_and_one_where_nobody_is():
    with pytest.raises(LogError, match=r"http://127\.0\.0\.1:PORT"):
        RemoteLog.connect("localhost:9092")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LogUnavailableError, match=f"{port}.*perdure engine"):
        RemoteLog.connect(f"http://127.0.0.1:{port}", wait_s=0.3)


def test_a_reader_that_does_not_take_is_sent_no_more_than_its_window(served):
    log, server = served
    remote = RemoteLog.connect(server.address)
    tail = remote.tail(on_ready=no_bell, committed=True)
    tail.assign(COMMANDS, 0, 0)
    appender = log.appender(on_ready=no_bell)
    value = b"." * 10_000
    for at in range(1000):
        appender.append(COMMANDS, 0, value, tag=at)
    assert len(collect_reports(appender, wait_for, 1000)) == 1000
    time.sleep(0.5)
    waiting = len(tail._feeds[COMMANDS, 0]._records)
    assert 50 < waiting <= 2 * frames.WINDOW_BYTES // len(value)
    assert len(collect(tail, wait_for, COMMANDS, 0, 1000)) == 1000
    tail.close()
    appender.close()
    remote.close()


def test_an_engine_that_lets_in_and_hangs_up_is_said_once(caplog, served, monkeypatch):
    """Two lines for each of many connections a second filled logs."""
    caplog.set_level(logging.WARNING)
    serve, connections = Link._serve, []

    def counted(self: Link, one: WireSocket) -> None:
        connections.append(one)
        serve(self, one)

    monkeypatch.setattr(Link, "_serve", counted)
    _, server = served
    remote = RemoteLog.connect(f"http://127.0.0.1:{server.port}")
    # The engine hangs up on whoever joins a group of a topic that is not there.
    member = remote.group_reader("g", "ns.gone.tasks", on_ready=no_bell)
    assert wait_for(lambda: len(connections) >= 6)
    member.close()
    remote.close()

    assert len([one for one in caplog.messages if "engine at" in one]) <= 2


def test_another_process_is_no_host(served):
    """It would be given partitions of the engine's own hosts, and nobody would work on them."""
    log, server = served
    topic = topic_name("commands", "ns", "q")
    log.create_topics([TopicSpec(topic, 2, 1, topic_settings("commands"))])
    own = log.member("ns.q.hosts", topic, on_ready=no_bell)
    remote = RemoteLog.connect(server.address)

    foreign = remote.member("ns.q.hosts", topic, on_ready=no_bell)
    asked = remote.topic(topic)

    assert asked is not None
    assert log.group_members("ns.q.hosts") == 1
    foreign.close()
    own.close()
    remote.close()
