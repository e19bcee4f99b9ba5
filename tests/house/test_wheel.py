"""The wheel holds the five packages whole and nothing else, and works where it alone is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from perdure_schemas.version import VERSION
from tests.house.plan import ROOMS
from tests.house.reading import ROOT, house

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def build(target: str, source: Path, into: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)],
        cwd=source,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = into.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    tops = {name.partition("/")[0] for name in names}

    assert tops == {*ROOMS, f"perdure-{VERSION}.dist-info"}


def test_the_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT / folder).as_posix()
        for room, folder in ROOMS.items()
        for path in (ROOT / folder / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    names = set(zipfile.ZipFile(wheel).namelist())

    assert {name for name in names if ".dist-info/" not in name} == expected


def test_the_wheel_imports_without_the_sources(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    found = importlib.import_module(name).__file__\n"
        "    assert found.startswith(sys.argv[2]), found\n"
    )
    names = [name for name in house() if not name.endswith("__main__")]

    # PYTHONPATH stands before the editable install of the sources.
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(names), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr


def test_a_wheel_made_from_the_source_archive_is_the_same(wheel: Path, tmp_path: Path) -> None:
    archive = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(archive) as members:
        members.extractall(tmp_path, filter="data")

    again = build("wheel", tmp_path / f"perdure-{VERSION}", tmp_path / "again")

    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(zipfile.ZipFile(again).namelist()) == names
    assert "perdure_schemas/version.py" in names
