"""The audit log of a gateway: who signed in, was denied, changed something, or read, if wanted.

Each entry is one JSON object on a line of the logger `perdure.audit`; nothing in it is a token or a
value of a payload.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final

import msgspec

AUDIT: Final = logging.getLogger("perdure.audit")
TEXT_CHARS_MAX: Final = 500


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that somebody did, or tried to."""

    at_ms: int
    kind: str
    """sign_in, sign_out, denied, change, read."""
    name: str = ""
    role: str = ""
    peer: str = ""
    what: str = ""
    """The endpoint, or the record of a client."""
    about: str = ""
    """The workflow, schedule or task queue."""
    status: int = 0
    why: str = ""


def note(kind: str, **facts: str | int) -> None:
    """Write an entry; texts are cut, because anybody may have written them."""
    if not AUDIT.isEnabledFor(logging.INFO):
        return
    cut = {
        name: fact[:TEXT_CHARS_MAX] if isinstance(fact, str) else fact
        for name, fact in facts.items()
    }
    entry = msgspec.convert({"at_ms": time.time_ns() // 1_000_000, "kind": kind, **cut}, Entry)
    # ASCII alone: a line of it does nothing to a terminal, and is one line.
    AUDIT.info("%s", _ascii(msgspec.json.encode(entry)))


def _ascii(line: bytes) -> str:
    text = line.decode()
    if text.isascii() and "\x7f" not in text:
        return text
    units = text.encode("utf-16-be")
    pairs = (int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2))
    return "".join(chr(one) if 0x20 <= one < 0x7F else f"\\u{one:04x}" for one in pairs)


def write_to(path: Path) -> None:
    """Write the entries to a file, behind what is there; it is its user's alone. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)
    handler = logging.FileHandler(path, encoding="ascii")
    handler.setFormatter(logging.Formatter("%(message)s"))
    AUDIT.addHandler(handler)
    AUDIT.setLevel(logging.INFO)
    AUDIT.propagate = False
