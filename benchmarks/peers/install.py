"""Where peers are installed: a folder of its own, by the registries' ordinary clients."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.peers.processes import ROOT

HOME = Path(os.environ.get("PERDURE_PEERS", ROOT / ".cache" / "peers"))
RESTATE_SERVER = "@restatedev/restate-server"
PYTHON_PACKAGES = {
    "restate": ("restate-sdk", "hypercorn"),
    "dbos": ("dbos", "psycopg[binary]"),
    "temporal": ("temporalio",),
}


class PeerMissingError(RuntimeError):
    """A peer that cannot be installed here; the message says why."""


def python_of(peer: str) -> str:
    """The interpreter of a peer's environment, made of ours when it is first asked for."""
    where = HOME / f"{peer}-{sys.version_info.major}.{sys.version_info.minor}"
    python = where / "bin" / "python"
    if not (where / "done").exists():
        shutil.rmtree(where, ignore_errors=True)
        venv.EnvBuilder(with_pip=True).create(where)
        _run([str(python), "-m", "pip", "install", "-q", *PYTHON_PACKAGES[peer]])
        (where / "done").touch()
    return str(python)


def restate_server() -> str:
    """Restate's server, from npm."""
    folder = HOME / "npm"
    found = _server_in(folder)
    if found is None:
        if shutil.which("npm") is None:
            raise PeerMissingError("there is no `npm` to fetch Restate's server with")
        folder.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), RESTATE_SERVER])
        found = _server_in(folder)
    if found is None:
        raise PeerMissingError(f"{RESTATE_SERVER} has no server for this machine")
    return str(found)


def _server_in(folder: Path) -> Path | None:
    # The binary itself: the command of that name is a script that would be measured, too.
    scope = folder / "node_modules" / "@restatedev"
    return next(scope.glob("restate-server-*/bin/restate-server"), None)


def postgres_bin() -> Path:
    """Where Debian's PostgreSQL has its programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise PeerMissingError("there is no PostgreSQL (Debian: apt-get install postgresql)")
    return found[-1].parent


def install_peer(name: str) -> None:
    """Have an engine's programs here. Raises PeerMissingError when that cannot be."""
    peer = name.partition("-")[0]
    if peer in PYTHON_PACKAGES:
        python_of(peer)
    if peer == "restate":
        restate_server()
    if name == "dbos-postgres":
        postgres_bin()


def versions(peer: str) -> str:
    """What is measured of a peer."""
    names = [name.partition("[")[0] for name in PYTHON_PACKAGES[peer][:1]]
    code = f"import importlib.metadata as m; print(*(n + ' ' + m.version(n) for n in {names}))"
    done = subprocess.run(
        [python_of(peer), "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode:
        text = (done.stdout + done.stderr)[-2000:]
        raise PeerMissingError(f"{' '.join(command)} ended with {done.returncode}:\n{text}")
