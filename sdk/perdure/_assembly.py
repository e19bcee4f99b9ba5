"""Opens logs, tables and registries by their addresses: the only place that chooses an adapter."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from perdure_topics.ports import Clock, Log, TableStore, TopicSpec
from perdure_topics.tables.state_directory import resolve_state_directory

# An engine and its clients are often started by one script.
ENGINE_WAIT_S: Final = 5.0
_SERVERS = re.compile(r"[^\s/,:]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
if TYPE_CHECKING:
    from perdure_topics.publisher_port import Publisher
    from perdure_topics.rights import Right
    from perdure_topics.schema_registry_port import SchemaRegistry
    from perdure_topics.wire.engine_server import EngineServer

# The logs of data directories that are open in this process, each with its number of users.
_OPEN: dict[str, tuple[Log, int]] = {}
_OPEN_LOCK: Final = threading.Lock()


def open_log(
    target: str, *, settings: Mapping[str, str] | None = None, api_key: str = ""
) -> tuple[Log, Callable[[], None]]:
    """The log of a target, and what lets go of it.

    A target is "host:port" of a Kafka broker (several with commas), "http://host:port" of an
    engine or gateway, or "file:DIRECTORY" for the embedded log in this process. The settings are
    librdkafka's of the way to the broker; without any, those of PERDURE_KAFKA_CONFIG and the
    PERDURE_KAFKA_ variables hold. The key is for a gateway that asks who one is.

    Raises ValueError for any other target or for settings that cannot be used, LogError when a
    directory is held by another process.
    """
    if target.startswith("file:"):
        return _open_directory(target.removeprefix("file:"))
    if target.startswith(("http://", "https://")):
        from perdure_topics.remote.remote_log import RemoteLog

        remote = RemoteLog.connect(target, wait_s=ENGINE_WAIT_S, api_key=api_key)
        return remote, remote.close
    servers = target.split(",")
    if not all(_SERVERS.fullmatch(server.strip()) for server in servers):
        raise ValueError(
            f"{target!r} is no target: give host:port of a Kafka broker, http://host:port of"
            " an engine, or file:DIRECTORY"
        )
    from perdure_topics.kafka.access import access_settings, checked_settings
    from perdure_topics.kafka.kafka_log import KafkaLog

    kafka = KafkaLog(
        ",".join(server if ":" in server else f"{server}:9092" for server in servers),
        client_settings=(
            access_settings() if settings is None else checked_settings(settings, "the settings")
        ),
    )
    return kafka, kafka.close


def open_publisher(target: str, name: str, *, marks: str) -> Publisher:
    """What publishes to topics of users, by a name that only one process at a time has.

    It keeps how far it has come in the topic `marks`.

    Raises ValueError for a target that is no Kafka broker, or settings that cannot be used.
    """
    if target.startswith(("file:", "http://", "https://")):
        raise ValueError(f"{target} has no topics of users: the relay publishes to a Kafka broker")
    from perdure_topics.kafka.access import access_settings
    from perdure_topics.kafka.publisher import KafkaPublisher

    return KafkaPublisher(target, dict(access_settings()), name, marks=marks)


def validate_topics(log: Log, specs: Sequence[TopicSpec]) -> None:
    """Ask a broker whether it would make topics; a log of our own makes any. Raises LogError."""
    if log.address.startswith(("file:", "http:", "https:")):
        return
    from perdure_topics.kafka.kafka_log import KafkaLog

    if isinstance(log, KafkaLog):
        log.validate_topics(specs)


def registry_of(log: Log) -> SchemaRegistry | None:
    """The schema registry that the settings of a Kafka log name, if it is one and they do.

    Raises ValueError for settings that cannot be used.
    """
    if log.address.startswith(("file:", "http:", "https:")):
        return None
    from perdure_topics.kafka.kafka_log import KafkaLog

    return log.registry() if isinstance(log, KafkaLog) else None


def open_registry(url: str | None = None) -> SchemaRegistry:
    """The schema registry of a URL, or of the settings; how it is reached, the settings say.

    Raises ValueError when none is named, and for settings that cannot be used.
    """
    from perdure_topics.kafka.access import access_settings
    from perdure_topics.kafka.schema_registry import open_registry as open_by_settings

    settings = access_settings() | ({"schema.registry.url": url} if url else {})
    registry = open_by_settings(settings)
    if registry is None:
        raise ValueError("no schema registry is named: give --registry, or schema.registry.url")
    return registry


def open_temporary_log(clock: Clock) -> tuple[Log, Callable[[], None]]:
    """A log of its own for a test, on the time of a clock, and what makes it go away."""
    from perdure_topics.embedded.embedded_log import EmbeddedLog

    directory = tempfile.mkdtemp(prefix="perdure-test-")
    log = EmbeddedLog.open(directory, clock=clock)

    def close() -> None:
        log.close()
        shutil.rmtree(directory, ignore_errors=True)

    return log, close


def memory_tables() -> TableStore:
    """Tables that are forgotten with their host, which makes them anew from the log."""
    from perdure_topics.tables.memory_tables import MemoryTableStore

    return MemoryTableStore()


def _open_directory(directory: str) -> tuple[Log, Callable[[], None]]:
    """The embedded log of a directory: one a process, shared by all that open it there."""
    if not directory:
        raise ValueError("'file:' names no directory: give file:./data")
    from perdure_topics.embedded.embedded_log import EmbeddedLog

    key = str(Path(directory).expanduser().resolve())
    with _OPEN_LOCK:
        log, users = _OPEN.get(key, (None, 0))
        if log is None:
            log = EmbeddedLog.open(key)
        _OPEN[key] = (log, users + 1)
    is_open = True

    def close() -> None:
        nonlocal is_open
        with _OPEN_LOCK:
            if not is_open:
                return
            is_open = False
            found, users = _OPEN[key]
            if users > 1:
                _OPEN[key] = (found, users - 1)
                return
            del _OPEN[key]
            found.close()

    return log, close


def grant_rights(bootstrap: str, rights: Sequence[Right], principal: str) -> None:
    """Allow a principal what it needs, on a broker with an authorizer.

    Raises LogError when the broker refuses, ValueError for settings that cannot be used.
    """
    from perdure_topics.kafka.access import access_settings
    from perdure_topics.kafka.acls import grant

    grant(bootstrap, access_settings(), rights, principal)


def serve(
    log: Log, *, port: int, on_page: Callable[[socket.socket], None] | None = None
) -> EngineServer:
    """Serve the embedded log of this process to others of this machine, until it is closed.

    Connections that do not ask for the log are handed to `on_page`.

    Raises LogError when the port cannot be listened on, TypeError for a log of another process.
    """
    from perdure_topics.embedded.embedded_log import EmbeddedLog
    from perdure_topics.wire.engine_server import EngineServer

    if not isinstance(log, EmbeddedLog):
        raise TypeError(f"{log.address} is not owned by this process, so it cannot be served")
    return EngineServer(log, port=port, on_page=on_page)


def open_tables(log: Log, directory: str | Path | None = None) -> TableStore:
    """The tables of this process for a log: beside an embedded log, or in the state directory."""
    from perdure_topics.tables.rocksdb_tables import RocksTableStore

    if log.address.startswith("file:") and directory is None:
        return RocksTableStore(Path(log.address.removeprefix("file:")) / "tables")
    return RocksTableStore(resolve_state_directory(directory) / log.cluster_id)


def empty_folder(directory: Path) -> Path:
    """A folder below a directory with nothing in it, this process's alone until it ends.

    Raises TableError when the directory cannot be used.
    """
    from perdure_topics.tables.rocksdb_tables import RocksTableStore

    # The slot's lock is let go of by the end of the process.
    folder = RocksTableStore(directory).slot / "own"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def checkpoint_directory(log: Log, directory: str | Path | None = None) -> Path:
    """Where copies of tables are kept, for processes of this machine that have none."""
    if log.address.startswith("file:") and directory is None:
        return Path(log.address.removeprefix("file:")) / "checkpoints"
    return resolve_state_directory(directory) / "checkpoints"
