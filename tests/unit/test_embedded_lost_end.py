"""A log that has lost what it acknowledged is refused, whichever file it was lost with."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options

from perdure_topics.embedded import store, sync_mark
from perdure_topics.embedded.embedded_log import EmbeddedLog
from perdure_topics.embedded.wal import BLOCK_BYTES, manifest_of, wal_files
from perdure_topics.ports import LogDamagedError, LogEndLostError, LogError
from tests.embedded_rig import (
    COMMANDS,
    EVENTS,
    crash_image,
    newest_wal,
    open_log,
    read_all,
    write,
)
from tests.log_rig import no_bell

VALUES = [b"value %d" % n + b"." * 1000 for n in range(400)]


@pytest.fixture
def many_wals(monkeypatch):
    """RocksDB flushes only when there are several files of its log to be flushed together."""
    plain = store._options

    def options(*, create: bool) -> Options:
        made = plain(create=create)
        made.set_write_buffer_size(128 * 1024)
        made.set_max_write_buffer_number(12)
        made.set_min_write_buffer_number_to_merge(10)
        return made

    monkeypatch.setattr(store, "_options", options)
    monkeypatch.setattr(sync_mark, "LISTED_EVERY_S", 0.0)


@pytest.fixture
def image(tmp_path: Path, many_wals: None) -> Path:
    """A killed log: a part in tables, a part in several files of the write-ahead log.

    `older` beside it is the same log as it was before the last records.
    """
    live = tmp_path / "live"
    log = open_log(live)
    write(log, EVENTS, VALUES[:100])
    log.close()
    log = open_log(live)
    write(log, EVENTS, VALUES[100:200])
    crash_image(live, tmp_path / "older")
    for at in range(200, len(VALUES), 20):
        write(log, EVENTS, VALUES[at : at + 20])
    crash_image(live, tmp_path / "image")
    log.close()
    assert len(wal_files(tmp_path / "image" / "log")) >= 2
    assert list((tmp_path / "image" / "log").glob("*.sst"))
    return tmp_path / "image"


def manifest(image: Path) -> Path:
    return manifest_of(image / "log")


def cut_the_last_record(image: Path) -> None:
    path = newest_wal(image)
    os.truncate(path, path.stat().st_size - 1)


def cut_many_records(image: Path) -> None:
    path = newest_wal(image)
    os.truncate(path, path.stat().st_size // 2)


def lose_the_newest_wal(image: Path) -> None:
    newest_wal(image).unlink()


def empty_the_newest_wal(image: Path) -> None:
    os.truncate(newest_wal(image), 0)


def lose_every_wal(image: Path) -> None:
    for path in wal_files(image / "log"):
        path.unlink()


def lose_an_older_wal(image: Path) -> None:
    wal_files(image / "log")[0].unlink()


def cut_an_older_wal(image: Path) -> None:
    path = wal_files(image / "log")[0]
    os.truncate(path, path.stat().st_size - 700)


def zero_a_block(image: Path) -> None:
    path = max(wal_files(image / "log"), key=lambda path: path.stat().st_size)
    assert path.stat().st_size > 2 * BLOCK_BYTES
    with path.open("r+b") as file:
        file.seek(BLOCK_BYTES)
        file.write(b"\0" * BLOCK_BYTES)


def older_wals(image: Path) -> None:
    for path in wal_files(image / "log"):
        before = image.with_name("older") / "log" / path.name
        if before.exists():
            shutil.copy(before, path)
        else:
            path.unlink()


def older_log(image: Path) -> None:
    shutil.rmtree(image / "log")
    shutil.copytree(image.with_name("older") / "log", image / "log")


def lose_the_manifest(image: Path) -> None:
    manifest(image).unlink()


def cut_the_manifest(image: Path) -> None:
    path = manifest(image)
    os.truncate(path, path.stat().st_size // 2)


def an_older_manifest(image: Path) -> None:
    first = image / "log" / "MANIFEST-000001"
    shutil.copy(manifest(image), first)
    os.truncate(first, first.stat().st_size // 2)
    manifest(image).unlink()
    (image / "log" / "CURRENT").write_text("MANIFEST-000001\n")


def lose_current(image: Path) -> None:
    (image / "log" / "CURRENT").unlink()


def lose_a_table(image: Path) -> None:
    next((image / "log").glob("*.sst")).unlink()


def cut_a_table(image: Path) -> None:
    path = next((image / "log").glob("*.sst"))
    os.truncate(path, path.stat().st_size - 10)


def lose_the_log(image: Path) -> None:
    shutil.rmtree(image / "log")


def empty_the_log(image: Path) -> None:
    lose_the_log(image)
    (image / "log").mkdir()


def another_log(image: Path) -> None:
    lose_the_log(image)
    other = open_log(image.with_name("other"))
    write(other, EVENTS, VALUES + VALUES)
    other.close()
    shutil.copytree(image.with_name("other") / "log", image / "log")


HARMS: list[Callable[[Path], None]] = [
    cut_the_last_record,
    cut_many_records,
    lose_the_newest_wal,
    empty_the_newest_wal,
    lose_every_wal,
    lose_an_older_wal,
    cut_an_older_wal,
    zero_a_block,
    older_wals,
    older_log,
    lose_the_manifest,
    cut_the_manifest,
    an_older_manifest,
    lose_current,
    lose_a_table,
    cut_a_table,
    lose_the_log,
    empty_the_log,
    another_log,
]


def contents(directory: Path) -> dict[str, bytes]:
    """What is in the files that hold data; RocksDB's notes for people do not count."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith(("LOG", "LOCK", "OPTIONS", "rocksdict"))
    }


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_log_that_lost_what_it_acknowledged_is_refused_and_left_alone(image, harm):
    whole = contents(image)
    harm(image)
    left = contents(image)
    for _ in range(2):
        with pytest.raises(LogDamagedError, match="Nothing was changed") as caught:
            EmbeddedLog.open(image)
        assert str(image / "log") in str(caught.value)
        assert "Restore" in str(caught.value)
    assert contents(image) == left
    for name, content in whole.items():
        (image / name).parent.mkdir(exist_ok=True)
        (image / name).write_bytes(content)
    for name in left.keys() - whole.keys():
        (image / name).unlink()
    log = EmbeddedLog.open(image)
    assert read_all(log, EVENTS) == VALUES
    log.close()


def test_the_refusal_says_how_much_is_lost_since_when_and_how_to_go_on_without(image):
    cut_the_last_record(image)
    with pytest.raises(
        LogEndLostError, match=r"lost its last \d+ of \d+ entries.*up to 20"
    ) as lost:
        EmbeddedLog.open(image)
    assert f"move {image}/log-synced, {image}/tables and {image}/checkpoints away" in str(
        lost.value
    )
    (image / "log-synced").rename(image / "log-synced.away")
    log = EmbeddedLog.open(image)
    values = read_all(log, EVENTS)
    assert 0 < len(values) < len(VALUES)
    assert values == VALUES[: len(values)]
    write(log, EVENTS, [b"after"])
    log.close()
    log = EmbeddedLog.open(image)
    assert read_all(log, EVENTS)[-1] == b"after"
    log.close()


def test_a_killed_log_of_many_files_is_taken_as_it_is(image):
    log = EmbeddedLog.open(image)
    assert read_all(log, EVENTS) == VALUES
    log.close()


@pytest.mark.seeds(2, fresh=1)
def test_no_image_of_a_log_at_work_is_refused(tmp_path, many_wals, seed):
    """Kills at any moment, also while files are flushed: nothing was lost, so none is refused."""
    lottery = random.Random(seed)
    log = open_log(tmp_path / "live")
    appender = log.appender(on_ready=no_bell)
    for round_ in range(12):
        for _ in range(lottery.randrange(400)):
            appender.append(EVENTS, 0, lottery.randbytes(lottery.randrange(900)))
            appender.append(COMMANDS, 1, b"x")
        # Files are copied in any order while they change: the mark first, so it promises least.
        target = tmp_path / f"image{round_}"
        target.mkdir()
        for name in ("log-synced",):
            shutil.copy(tmp_path / "live" / name, target / name)
        try:
            shutil.copytree(tmp_path / "live" / "log", target / "log")
        except shutil.Error:
            continue  # A file was deleted meanwhile: this is no image.
        try:
            EmbeddedLog.open(target).close()
        except LogEndLostError as error:
            pytest.fail(str(error))
        except LogError:
            continue  # A torn copy of files that belong together.
        finally:
            shutil.rmtree(target)
    appender.close()
    log.close()


def test_a_damaged_mark_is_refused_and_one_half_of_it_is_enough(tmp_path):
    log = open_log(tmp_path)
    write(log, EVENTS, VALUES[:10])
    log.close()
    mark = tmp_path / "log-synced"
    content = mark.read_bytes()
    for at in range(0, 2 * sync_mark.SLOT_BYTES, 37):
        mark.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        EmbeddedLog.open(tmp_path).close()
    mark.write_bytes(b"\xff" * len(content))
    with pytest.raises(LogDamagedError, match=r"log-synced.*damaged.*move this file away"):
        EmbeddedLog.open(tmp_path)
    mark.unlink()
    EmbeddedLog.open(tmp_path).close()
    assert mark.stat().st_mode & 0o777 == 0o600


def test_a_log_of_a_release_without_marks_gets_one(tmp_path):
    log = open_log(tmp_path)
    write(log, EVENTS, VALUES[:10])
    log.close()
    (tmp_path / "log-synced").unlink()
    log = open_log(tmp_path)
    assert read_all(log, EVENTS) == VALUES[:10]
    log.close()
    assert (tmp_path / "log-synced").exists()
