"""A disk that loses what was not synced: programs run on it, and what a power failure leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
DELAY_US = 4_000
"""How long a sync takes at least: whoever does not wait for it is seen."""


def build(directory: Path) -> Path:
    """The layer, compiled; skips the test where there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the layer that loses unsynced writes needs Linux and a C compiler (cc)")
    library = directory / "losing_disk.so"
    options = ["-shared", "-fPIC", "-O1", "-pthread"]
    subprocess.run([compiler, *options, "-o", library, SOURCE, "-ldl"], check=True)
    return library


def run(
    library: Path, root: Path, kept: Path, module: str, arguments: Iterable[object]
) -> list[str]:
    """Run `python -m module` on the disk until its power fails; the lines that it said."""
    kept.mkdir(parents=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "DISK_ROOT": str(root),
        "DISK_KEPT": str(kept),
        "DISK_DELAY_US": str(DELAY_US),
    }
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -9, done.stderr
    return done.stdout.splitlines()


def power_fails() -> None:
    """From now on nothing survives that was not synced; for programs on the disk."""
    import ctypes

    ctypes.CDLL(os.environ["LD_PRELOAD"]).disk_fails()


def image(root: Path, kept: Path, target: Path) -> None:
    """What is there when the machine is up again."""
    target.mkdir()
    names = kept / f"names-{root.stat().st_ino}"
    for line in names.read_text().splitlines() if names.exists() else ():
        inode, name = line.split(" ", 1)
        if name in (".", ".."):
            continue
        path = root / name
        if (kept / f"names-{inode}").exists() or path.is_dir():
            image(path, kept, target / name)
        elif (data := kept / f"data-{inode}").exists():
            shutil.copy(data, target / name)
        else:
            # Its name is there, what was written into it is not.
            (target / name).touch()
