"""The stage: a broker with a door for each process, hosts, workers and talkers, by name."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.broker.kafka_broker import KafkaBroker, free_port
from tests.broker.processes import QUEUE, ROOT, Crew, Process

HOSTS: Final = ("host-1", "host-2", "host-3")
WORKERS: Final = ("worker-1", "worker-2")
TALKERS: Final = ("talker-1", "talker-2")
GOOD, NEXT, BAD = (f"tests.chaos.{name}" for name in ("app", "next_app", "bad_app"))
READY_S: Final = 20.0


@dataclass(frozen=True)
class Gate:
    """Where a process meets the broker: what it connects to, and what is behind it."""

    door: int
    listener: int


class Doors:
    """The process that holds back bytes."""

    def __init__(self, gates: dict[str, Gate], folder: Path) -> None:
        self._gates = gates
        pairs = [f"{gate.door}:{gate.listener}" for gate in gates.values()]
        command = [sys.executable, "-m", "tests.chaos.doors", *pairs]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (folder / "doors.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the doors did not open"

    def shut(self, name: str, way: str) -> None:
        """Hold what a process sends (`up`), is sent (`down`), or both."""
        self._say(f"shut {self._gates[name].door} {way}")

    def open(self, name: str) -> None:
        """Let it pass again."""
        self._say(f"open {self._gates[name].door}")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()


class Stage(Crew):
    """All processes of a chaos run, and what may be done to them."""

    def __init__(self, folder: Path, *, seed: int, hosts: int, workers: int, talkers: int) -> None:
        self.names = [*HOSTS[:hosts], *WORKERS[:workers], *TALKERS[:talkers]]
        ports: set[int] = set()
        self.gates = {name: Gate(_port(ports), _port(ports)) for name in self.names}
        self.broker = KafkaBroker(folder / "kafka", port=_port(ports))
        self.broker.configure(_listeners(self.broker, self.gates))
        super().__init__(self.broker.bootstrap, folder)
        self.seed = seed
        self.notes = folder / "notes.jsonl"
        self.apps = dict.fromkeys(self.names, GOOD)
        self.running: dict[str, Process] = {}
        self.down: set[str] = set()
        """Those that are meant not to run just now."""
        self.ended: list[str] = []
        """Processes that ended though nobody had ended them, and what they said."""
        self.who: dict[str, str] = {}
        """What the talkers that run now call themselves: another name in each life."""
        self._talker_lives = 0
        self._rng = random.Random(f"talkers {seed}")

    def open(self) -> None:
        """Start the broker, make the topics, start everybody."""
        self.broker.start()
        self.doors = Doors(self.gates, self.folder)
        self.create_topics()
        for name in self.names:
            self.begin(name)

    def close(self) -> None:
        """End everything."""
        for process in self.running.values():
            if process.status is None:
                process.resume()
        self.end()
        if hasattr(self, "doors"):
            self.doors.end()
        self.broker.stop(timeout_s=10.0)

    def of(self, kind: str) -> list[str]:
        """The names of one kind: `host`, `worker`, `talker`."""
        return [name for name in self.names if name.startswith(kind)]

    def begin(self, name: str) -> Process:
        """Start a process."""
        self.down.discard(name)
        if name.startswith("talker"):
            self.running[name] = self._talker(name)
        else:
            self.running[name] = self.process(name, *self._words(name))
        return self.running[name]

    def _words(self, name: str) -> Iterator[str]:
        yield from ("worker", self.apps[name], "--broker", self._address(name))
        yield from ("--namespace", self.namespace, "--task-queue", QUEUE, "--verbose")
        if name.startswith("host"):
            yield from ("--workflows-only", "--state-dir", str(self.tables_of(name)))
        else:
            yield "--activities-only"

    def _talker(self, name: str) -> Process:
        self._talker_lives += 1
        who = f"{name}-{self._talker_lives}"
        self.who[name] = who
        words = ["--broker", self._address(name), "--namespace", self.namespace]
        words += ["--name", who, "--notes", str(self.notes)]
        words += ["--seed", str(self._rng.randrange(1 << 30))]
        made = Process(name, words, self.folder, journal=self.journal, module="tests.chaos.talker")
        self.processes.append(made)
        return made.start()

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self.gates[name].door}"

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.down.add(name)
        process = self.running.pop(name)
        if process.status is None:
            process.kill()
        self.processes.remove(process)

    def stop(self, name: str) -> int:
        """SIGTERM; the status."""
        self.down.add(name)
        process = self.running.pop(name)
        status = process.stop()
        self.processes.remove(process)
        return status

    def watch(self) -> None:
        """Start again what ended by itself, and note it."""
        for name, process in list(self.running.items()):
            if process.status is None or name in self.down:
                continue
            # A talker that has seen everything to its end goes when it is calm.
            if not (name.startswith("talker") and process.status == 0):
                self.ended.append(f"{name} ended with {process.status}: {process.said()[-1500:]}")
            if name.startswith("talker"):
                self.down.add(name)
                continue
            self.kill(name)
            self.begin(name)

    def clock_of(self, name: str) -> Path:
        """The file that a host's clock obeys."""
        return self.folder / f"clock-{self.tables_of(name).name}"

    def pid_of(self, name: str) -> int:
        """The process id of a name."""
        return self.running[name].pid


def _port(taken: set[int]) -> int:
    port = free_port(taken=taken)
    taken.add(port)
    return port


def _listeners(broker: KafkaBroker, gates: dict[str, Gate]) -> dict[str, str]:
    """Broker settings: a listener for each gate, that sends its clients to the gate's door."""
    plain = broker.properties()
    names = {gate: f"GATE{number}" for number, gate in enumerate(gates.values())}
    inner = [f"{name}://127.0.0.1:{gate.listener}" for gate, name in names.items()]
    outer = [f"{name}://127.0.0.1:{gate.door}" for gate, name in names.items()]
    security = [f"{name}:PLAINTEXT" for name in names.values()]
    return {
        "listeners": ",".join([plain["listeners"], *inner]),
        "advertised.listeners": ",".join([plain["advertised.listeners"], *outer]),
        "listener.security.protocol.map": ",".join(
            [plain["listener.security.protocol.map"], *security]
        ),
    }


def now_ms() -> int:
    """The wall clock of this machine, which is the broker's, too."""
    return time.time_ns() // 1_000_000
