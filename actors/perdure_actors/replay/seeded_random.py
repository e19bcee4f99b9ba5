"""Random numbers and ids of a run: the same at every replay, because its run id is their seed."""

from __future__ import annotations

import hashlib
import random
import uuid

_SEED_BYTES = 8


def random_of(run_id: str, name: str = "") -> random.Random:
    """A generator seeded by the run, and by a name within it."""
    return random.Random(seed_of(run_id, name))  # noqa: S311 - replay needs it to repeat


def seed_of(run_id: str, name: str = "") -> int:
    """The seed of a run's generator."""
    digest = hashlib.blake2b(f"{run_id}\n{name}".encode(), digest_size=_SEED_BYTES).digest()
    return int.from_bytes(digest, "big")


def uuid4_of(generator: random.Random) -> uuid.UUID:
    """A random id, drawn from a generator."""
    return uuid.UUID(int=generator.getrandbits(128), version=4)


def uuid7_of(generator: random.Random, time_ms: int) -> uuid.UUID:
    """An id that sorts by time, drawn from a generator (RFC 9562, version 7)."""
    value = (time_ms & 0xFFFFFFFFFFFF) << 80 | generator.getrandbits(80)
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return uuid.UUID(int=value)
