"""One real Kafka broker (KRaft, one node) that a test may stop, kill, pause and start again.

By hand, until Ctrl-C: `python -m tests.broker.kafka_broker --port 19092 [--dir FOLDER]`.
"""

from __future__ import annotations

import argparse
import base64
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.broker.kafka_jars import LOG_SETTINGS, kafka_libs, kafka_version

# docker-compose.yml sets the same ones; tests/unit/test_compose.py holds the two together.
SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    # INTERNAL is the door between the services of docker-compose.yml; nothing listens there here.
    "listener.security.protocol.map": (
        "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,INTERNAL:PLAINTEXT"
    ),
    # A topic that nobody made has the wrong partitions and the wrong clock.
    "auto.create.topics.enable": "false",
    # The default of 3 s is cold-start time of every first worker.
    "group.initial.rebalance.delay.ms": "0",
    # After a SIGKILL the controller keeps the dead registration this long (default 9 s).
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # One node holds one replica.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    # The defaults of 50 internal partitions each cost a small machine seconds at start.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
}

# The ephemeral range begins at 32768: above it another socket may already hold the port.
PORTS: Final = range(20000, 32000)
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
# Short-lived test brokers gain nothing from the second compiler, and the tests want its core.
QUICK_JVM: Final = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
STEADY_JVM: Final = ("-Xms256m", "-Xmx640m", "-XX:+UseSerialGC")


class KafkaBroker:
    """A broker process over a folder of its own; the folder and the port outlive the process."""

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        jvm_options: Iterable[str] = QUICK_JVM,
        cluster_id: str = "",
    ) -> None:
        self.directory = directory
        self.cluster_id = cluster_id or new_cluster_id()
        self.port = port or free_port()
        self.controller_port = free_port(taken={self.port})
        self.log_path = directory / "broker.log"
        self._settings = dict(settings or {})
        self._jvm_options = tuple(jvm_options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """The address that clients connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    def properties(self) -> dict[str, str]:
        """Everything that the broker is started with."""
        return {
            **SETTINGS,
            "listeners": (
                f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}"
            ),
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "log.dirs": str(self.directory / "data"),
            **self._settings,
        }

    def configure(self, settings: Mapping[str, str]) -> None:
        """Add settings, before it is started."""
        self._settings |= settings

    def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the broker on its folder and port, and wait until it answers."""
        self.begin()
        self.await_answer(timeout_s=timeout_s)

    def begin(self) -> None:
        """Start the process; one of several answers only when most of them are there."""
        assert self._process is None, "the broker already runs"
        self.directory.mkdir(parents=True, exist_ok=True)
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{k}={v}\n" for k, v in self.properties().items()), "utf-8")
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(properties)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*_die_with_parent(), *self._java("kafka.Kafka"), str(properties)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                start_new_session=True,
            )

    def await_answer(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it answers."""
        self._wait_until_it_answers(time.monotonic() + timeout_s)

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop the broker as an operator would, and kill it if it does not go."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: what the broker had not written is gone."""
        assert self._process is not None, "the broker does not run"
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Stop the broker, if it runs, and start it again on the same folder and port."""
        self.stop()
        self.start(timeout_s=timeout_s)

    def pause(self) -> None:
        """SIGSTOP: the broker keeps its sockets and answers nothing."""
        assert self._process is not None, "the broker does not run"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after a pause."""
        assert self._process is not None, "the broker does not run"
        self._process.send_signal(signal.SIGCONT)

    def _java(self, main_class: str) -> list[str]:
        return [
            "java",
            *self._jvm_options,
            f"-Dlog4j2.configurationFile={LOG_SETTINGS}",
            "-cp",
            f"{kafka_libs()}/*",
            main_class,
        ]

    def _format(self, properties: Path) -> None:
        command = [*self._java("kafka.tools.StorageTool"), "format"]
        command += ["-t", self.cluster_id, "-c", str(properties)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=START_TIMEOUT_S
        )
        if done.returncode:
            raise RuntimeError(f"StorageTool could not format: {done.stdout}{done.stderr}")

    def _wait_until_it_answers(self, deadline_s: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                code, self._process = self._process.returncode, None
                raise RuntimeError(f"the broker ended with {code}:\n{self.log_tail()}")
            if _listens(self.port) and answers(self.bootstrap, timeout_s=2.0):
                return
            time.sleep(0.05)
        self.stop(timeout_s=1.0)
        raise RuntimeError(f"no broker on {self.bootstrap} in time:\n{self.log_tail()}")

    def log_tail(self, *, lines_max: int = 30) -> str:
        """The end of what the broker printed."""
        return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-lines_max:])


def new_cluster_id() -> str:
    """An id as StorageTool takes them."""
    return base64.urlsafe_b64encode(b"\x01" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def answers(bootstrap: str, *, timeout_s: float) -> bool:
    """Whether a broker is there and knows itself as a member of its cluster."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    try:
        return bool(admin.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def free_port(*, taken: Iterable[int] = ()) -> int:
    """A port below the ephemeral range that nobody listens on now."""
    for port in random.sample(PORTS, 200):
        if port in set(taken):
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port in {PORTS}: end some processes of earlier runs")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> list[str]:
    # A killed test run must not leave a broker behind; where setpriv is missing it may.
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def main() -> None:
    """Run one broker in the foreground until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="One Kafka broker for tests, until Ctrl-C.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--dir", type=Path, help="keep the data here (default: a temporary folder)")
    asked = parser.parse_args()
    directory = asked.dir.resolve() if asked.dir else Path(tempfile.mkdtemp(prefix="kafka-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    broker = KafkaBroker(directory, port=asked.port, jvm_options=STEADY_JVM)
    try:
        broker.start()
        print(f"Kafka {kafka_version()} on {broker.bootstrap}, pid {broker.pid}, in {directory}")
        print("Ctrl-C stops it.", flush=True)
        while True:
            signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        broker.stop()
        if not asked.dir:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
