"""A real schema registry, Apicurio by its Confluent interface, that a test may kill and restart."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from tests.broker.kafka_broker import QUICK_JVM, free_port
from tests.broker.kafka_jars import BrokerUnavailableError, missing_tool

VERSION: Final = "3.0.9"  # the last that runs on Java 17
ARTIFACT: Final = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
CACHE: Final = Path(__file__).parents[2] / ".cache" / "registry"
DOWNLOAD_S: Final = 600
START_S: Final = 60.0


def registry_folder() -> Path:
    """The unpacked registry, fetched with Maven by the first caller."""
    folder = CACHE / VERSION
    if not folder.is_dir():
        missing = missing_tool() or ("no `mvn` on the PATH" if not shutil.which("mvn") else None)
        if missing:
            raise BrokerUnavailableError(missing)
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _download(folder)
    return folder


def _download(folder: Path) -> None:
    # A killed download must not look complete, so the folder gets its name last.
    partial = Path(tempfile.mkdtemp(dir=CACHE, prefix="partial-"))
    # Only this goal of this old release does without the parent poms; it fills a repository.
    goal = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"
    command = ["mvn", "--batch-mode", "--quiet", goal, "-Dtransitive=false"]
    command += [f"-Dartifact={ARTIFACT}", f"-Dmaven.repo.local={partial}/m2"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_S,
        env={**os.environ, "MAVEN_OPTS": "-Xmx256m"},
        cwd=partial,
    )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        said = (done.stdout + done.stderr).strip()[-1000:]
        raise BrokerUnavailableError(f"Maven could not fetch {ARTIFACT}: {said}")
    (archive,) = partial.glob("m2/**/*-all.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(partial, filter="data")
    shutil.rmtree(partial / "m2")
    partial.rename(folder)


class RegistryServer:
    """A registry process over a folder of its own; the folder and the port outlive the process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its Confluent interface is."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        (jar,) = registry_folder().glob("*-runner.jar")
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": self.port,
            "apicurio.storage.kind": "sql",
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": f"jdbc:h2:file:{self.directory}/schemas",
            "quarkus.log.level": "WARN",
        }
        command = ["java", *QUICK_JVM, *(f"-D{name}={value}" for name, value in settings.items())]
        if shutil.which("setpriv"):
            # A killed test run must not leave a registry behind.
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with (self.directory / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-jar", str(jar)], stdout=log, stderr=log, cwd=self.directory
            )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "registry.log").read_text()
            assert time.monotonic() < deadline_s, "the registry does not answer"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2.0):
                return True
        except (urllib.error.URLError, OSError):
            return False
