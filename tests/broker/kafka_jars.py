"""Where the jars of the test broker come from: Maven, once a version, kept in this clone."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

POM: Final = Path(__file__).parent / "kafka" / "pom.xml"
LOG_SETTINGS: Final = POM.with_name("log4j2.properties")
CACHE: Final = Path(__file__).parents[2] / ".cache" / "kafka-libs"
DOWNLOAD_TIMEOUT_S: Final = 600


class BrokerUnavailableError(RuntimeError):
    """This machine cannot run a broker; the message says what is missing."""


def kafka_version() -> str:
    """The Kafka release of the test broker: the pom is the only place that names it."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text("utf-8"))
    assert found, f"{POM} names no kafka.version"
    return found[1]


def missing_tool() -> str | None:
    """What this machine lacks to run a broker, or None."""
    if shutil.which("java") is None:
        return "no `java` on the PATH (Debian: apt-get install default-jdk-headless)"
    if not _libs_dir().is_dir() and shutil.which("mvn") is None:
        return "no `mvn` on the PATH to fetch Kafka's jars (Debian: apt-get install maven)"
    return None


def kafka_libs() -> Path:
    """The folder with the broker's jars, fetched with Maven by the first caller."""
    missing = missing_tool()
    if missing:
        raise BrokerUnavailableError(missing)
    libs = _libs_dir()
    if not libs.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not libs.is_dir():
                _download(libs)
    return libs


def _libs_dir() -> Path:
    return CACHE / kafka_version()


def _download(libs: Path) -> None:
    # A killed download must not look complete, so the folder gets its name last.
    partial = Path(tempfile.mkdtemp(dir=CACHE, prefix="partial-"))
    command = [
        "mvn",
        "--batch-mode",
        "--quiet",
        f"--file={POM}",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={partial}",
        "dependency:copy-dependencies",
    ]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
        env={**os.environ, "MAVEN_OPTS": "-Xmx256m"},
    )
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise BrokerUnavailableError(
            f"Maven could not fetch Kafka's jars (exit {done.returncode}): "
            f"{(done.stdout + done.stderr).strip()[-1000:]}"
        )
    partial.rename(libs)
