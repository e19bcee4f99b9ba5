"""The engine's keys: who hosts a task queue, and whom it trusts, knows them; nobody else does.

A key counts from a point in time on: the token of an attempt is made with the key of the epoch in
which it was issued, so it is the same for every host and on every resend, and a new key is taken
up by the next take-over behind its time. Without a key all is as it was before there were any.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from perdure_schemas.command_headers import AttemptReport
from perdure_topics.private import read_secret

if TYPE_CHECKING:
    from pathlib import Path

    from perdure_topics.ports import Headers, StoredRecord

KEYS_MAX: Final = 16
KEY_BYTES_MIN: Final = 16
KEY_BYTES_MAX: Final = 64
FILE_BYTES_MAX: Final = 64 * 1024
TOKEN_BYTES: Final = 16
SEAL_BYTES: Final = 32
SEAL: Final = "perdure-seal"
"""The header of what a host sends in the name of a workflow."""
_SIGNED: Final = "perdure-report"
_TEMPLATE: Final = "write `TIME KEY`, as 2026-01-31T00:00:00Z and 32 to 128 hexadecimal digits"


@dataclass(frozen=True)
class EngineKeys:
    """Keys with the time, in ms since 1970, from which on each counts; the oldest first.

    Example:
        keys = EngineKeys.of_file(Path("/etc/perdure/engine-keys"))
    """

    entries: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def of_file(cls, path: Path) -> EngineKeys:
        """Read a file. Raises ValueError with its line for one that is wrong, OSError."""
        text = read_secret(path, bytes_max=FILE_BYTES_MAX)
        return cls.of_text(text, where=str(path))

    @classmethod
    def of_text(cls, text: str, *, where: str) -> EngineKeys:
        """Read lines of `TIME KEY`. Raises ValueError with the line for one that is wrong."""
        entries = []
        for number, line in enumerate(text.splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                since, key = words
                entries.append((_ms_of(since), bytes.fromhex(key)))
            except ValueError:
                # Not what was wrong with it: that could be the key.
                raise ValueError(f"{where}, line {number}: {_TEMPLATE}") from None
            if not KEY_BYTES_MIN <= len(entries[-1][1]) <= KEY_BYTES_MAX:
                raise ValueError(f"{where}, line {number}: {_TEMPLATE}")
        if not 0 < len(entries) <= KEYS_MAX:
            raise ValueError(f"{where} holds {len(entries)} keys, 1 to {KEYS_MAX} are needed")
        times = [since for since, _ in entries]
        if len(set(times)) < len(times):
            raise ValueError(f"{where} holds two keys of one time")
        return cls(tuple(sorted(entries)))

    def __repr__(self) -> str:
        """How many there are; never what they are."""
        return f"EngineKeys({len(self.entries)})"

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.entries)

    def at(self, time_ms: int) -> bytes:
        """The key of a point in time; empty before the first."""
        at = bisect_right(self.entries, time_ms, key=lambda entry: entry[0])
        return self.entries[at - 1][1] if at else b""

    def sign(self, report: Any, now_ms: int) -> Any:
        """A report about an activity by its ids, with the proof that its sender has a key.

        Without a key it stays as it is.
        """
        key = self.at(now_ms)
        if not key:
            return report
        return msgspec.structs.replace(report, token=_proof(key, report))

    def is_signed(self, report: Any) -> bool:
        """Whether the sender of a report by ids had one of the keys, and it is as it was sent."""
        given: bytes = report.token
        return any(hmac.compare_digest(_proof(key, report), given) for _, key in self.entries)

    def seal(self, topic: str, value: bytes, epoch: int) -> Headers:
        """The header of what a host sends in the name of a workflow; none without a key.

        It is sealed before the first key's time as well: from then on all hosts refuse what is not.
        """
        if not self.entries:
            return ()
        key = self.at(epoch) or self.entries[0][1]
        return ((SEAL, _seal(key, topic, value)),)

    def is_sealed(self, record: StoredRecord) -> bool:
        """Whether a host wrote a record, to this topic; or it is from before the first key's time.

        The time is the log's stamp, which no sender chooses.
        """
        if not self.entries or record.timestamp_ms < self.entries[0][0]:
            return True
        given = [value for name, value in record.headers or () if name == SEAL]
        value = record.value or b""
        return len(given) == 1 and any(
            hmac.compare_digest(_seal(key, record.topic, value), given[0] or b"")
            for _, key in self.entries
        )


NO_KEYS: Final = EngineKeys()


def signed_by_ids(command: Any, keys: EngineKeys, now_ms: int) -> Any:
    """A command, signed where it is a report of an activity by its ids and not by a token."""
    if isinstance(command, AttemptReport) and not command.attempt:
        return keys.sign(command, now_ms)
    return command


def _proof(key: bytes, report: Any) -> bytes:
    """Over all that a report says, and who waits for its answer: another one has another proof."""
    asker = "" if report.reply is None else report.reply.correlation_id
    bare = msgspec.structs.replace(report, token=b"", reply=None)
    text = msgspec.msgpack.encode([_SIGNED, asker, _said(bare)])
    return hashlib.blake2b(text, digest_size=TOKEN_BYTES, key=key).digest()


def _seal(key: bytes, topic: str, value: bytes) -> bytes:
    """Over a record and the topic that it is for: copied to another it proves nothing."""
    text = b"perdure-message\0" + topic.encode() + b"\0" + value
    return hashlib.blake2b(text, digest_size=SEAL_BYTES, key=key).digest()


def _said(value: Any) -> Any:
    """A record as what is not default in it, so that fields of a newer release change nothing."""
    if isinstance(value, msgspec.Struct):
        fields = [
            [field.name, _said(found)]
            for field in msgspec.structs.fields(value)
            if (found := getattr(value, field.name)) != _default(field)
        ]
        return [type(value).__name__, fields]
    if isinstance(value, dict):
        return [[_said(key), _said(one)] for key, one in sorted(value.items())]
    if isinstance(value, list | tuple):
        return [_said(one) for one in value]
    return value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _ms_of(text: str) -> int:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return int(found.timestamp() * 1000)
