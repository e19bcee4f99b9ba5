"""The engines: what each starts, and which load process asks it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from benchmarks.peers import install
from benchmarks.peers.processes import ROOT, Processes, free_port, tree_cpu_s, wait_for_port
from benchmarks.stage import Stage

PARTITIONS = 8


class Engine(Protocol):
    """One engine, from its start to its end."""

    def start(self) -> list[str]:
        """Start it on empty data; the command of its load, without the plan."""

    def cpu_s(self) -> float:
        """The processor time of all its processes so far, the load's left out."""

    def stop(self) -> None:
        """End all of its processes."""


class Perdure:
    """Perdure as it comes: one process runs workflows and activities; embedded, or on Kafka."""

    def __init__(self, log: str, bootstrap: str = "", broker_pid: int = 0) -> None:
        self._broker_pid = broker_pid if log == "kafka" else 0
        self._stage = Stage(log, partitions=PARTITIONS, bootstrap=bootstrap, broker_pid=broker_pid)
        self._broker_s = 0.0

    def start(self) -> list[str]:
        """Start its engine, or its worker."""
        stage = self._stage
        # An operator makes topics once; it is no part of a cold start.
        stage.__enter__()
        stage.start_all()
        words = [sys.executable, "-m", "benchmarks.peers.perdure_load"]
        return [*words, stage.target, stage.namespace, stage.queue]

    def cpu_s(self) -> float:
        """The broker's included."""
        pids = [process.pid for process in self._stage.processes.values()]
        return sum(map(tree_cpu_s, [*pids, *([self._broker_pid] if self._broker_pid else [])]))

    def stop(self) -> None:
        """End them."""
        self._stage.__exit__(None, None, None)


class _Started:
    """An engine whose processes are all its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes = Processes(directory)

    def cpu_s(self) -> float:
        """All of them."""
        return self._processes.cpu_s()

    def stop(self) -> None:
        """End them."""
        self._processes.stop()


class Restate(_Started):
    """Restate's server and a worker under hypercorn."""

    def start(self) -> list[str]:
        """Start both, and tell the server of the worker."""
        server, python = install.restate_server(), install.python_of("restate")
        ingress, admin, node, worker = (free_port() for _ in range(4))
        env = {
            "RESTATE_BASE_DIR": str(self._directory / "data"),
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_LOG_FILTER": "warn",
            "DO_NOT_TRACK": "1",
        }
        one = self._processes.start("restate", [server], env=env, cwd=self._directory)
        words = [python, "-m", "hypercorn", "--bind", f"127.0.0.1:{worker}"]
        words += ["--log-level", "warning", "benchmarks.peers.restate_app:app"]
        two = self._processes.start("worker", words)
        wait_for_port(admin, one, self._directory / "restate.log")
        wait_for_port(ingress, one, self._directory / "restate.log")
        wait_for_port(worker, two, self._directory / "worker.log")
        request = urllib.request.Request(
            f"http://127.0.0.1:{admin}/deployments",
            json.dumps({"uri": f"http://127.0.0.1:{worker}"}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read()
        return [sys.executable, "-m", "benchmarks.peers.restate_load", str(ingress)]


class DbosSqlite(_Started):
    """DBOS on a file: the load's process is the engine."""

    def start(self) -> list[str]:
        """Nothing to start."""
        python = install.python_of("dbos")
        database = f"sqlite:///{self._directory / 'dbos.sqlite'}"
        return [python, "-m", "benchmarks.peers.dbos_app", database]


class DbosPostgres(_Started):
    """DBOS on a PostgreSQL of its own."""

    def start(self) -> list[str]:
        """Make a cluster and start its server."""
        programs, python = install.postgres_bin(), install.python_of("dbos")
        data, port = self._directory / "pg", free_port()
        as_user: list[str] = []
        if os.getuid() == 0:
            # It refuses to run as root.
            user = pwd.getpwnam("postgres")
            shutil.chown(self._directory, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        quiet = ["-U", "postgres", "--auth=trust", "-D", str(data)]
        made = self._processes.start(
            "initdb", [*as_user, str(programs / "initdb"), *quiet], cwd=self._directory
        )
        if made.wait(60):
            raise RuntimeError((self._directory / "initdb.log").read_text())
        words = [*as_user, str(programs / "postgres"), "-D", str(data), "-p", str(port)]
        words += ["-k", str(self._directory), "-c", "listen_addresses=127.0.0.1"]
        server = self._processes.start("postgres", words, cwd=self._directory)
        wait_for_port(port, server, self._directory / "postgres.log")
        database = f"postgresql://postgres@127.0.0.1:{port}/dbos"
        return [python, "-m", "benchmarks.peers.dbos_app", database]


class Temporal(_Started):
    """A worker on a Temporal server that already runs; the server's own time is not counted."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory)
        self._address = address

    def start(self) -> list[str]:
        """Start the worker."""
        words = [install.python_of("temporal"), "-m", "benchmarks.peers.temporal_app"]
        self._processes.start("worker", [*words, "worker", self._address])
        return [*words, "load", self._address]


Make = Callable[[Path], Engine]


def engines(*, bootstrap: str, broker_pid: int, temporal: str) -> dict[str, Make]:
    """How each engine is made, by name; ours first."""
    made: dict[str, Make] = {
        "perdure-embedded": lambda _: Perdure("embedded"),
        "restate": Restate,
        "dbos-sqlite": DbosSqlite,
        "dbos-postgres": DbosPostgres,
    }
    if bootstrap:
        made["perdure-kafka"] = lambda _: Perdure("kafka", bootstrap, broker_pid)
    if temporal:
        made["temporal"] = lambda directory: Temporal(directory, temporal)
    return made


def environment() -> dict[str, Any]:
    """What a load process needs to find this package from another interpreter."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
