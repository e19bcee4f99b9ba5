"""Whose process is at the other end of a loopback connection, by what Linux says of its sockets."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
NOBODY: Final = -1
"""An end that no process has any more: whoever it was has sent something and gone."""


def stranger_at(connection: socket.socket) -> int | None:
    """The user at the other end when that is neither this process's own nor root, else None.

    None too where the system does not say: elsewhere than on Linux, or without its tables.
    """
    try:
        here, there = _place(connection.getsockname()), _place(connection.getpeername())
        rows = [row for table in _TABLES if table.exists() for row in _rows(table)]
    except (OSError, ValueError):
        return None
    users = {(local, remote): user for local, remote, user in rows}
    if (here, there) not in users:
        # Tables that do not have this end say nothing of the other.
        return None
    user = users.get((there, here), NOBODY)
    return None if user in (0, os.getuid()) else user


def _rows(table: Path) -> list[tuple[str, str, int]]:
    """Local and remote place of each connection, and the user whose socket it is."""
    found = []
    for line in table.read_text().splitlines()[1:]:
        columns = line.split()
        # One that was closed by its process has no file, and would pass for root's.
        user = int(columns[7]) if columns[9] != "0" else NOBODY
        found.append((_plain(columns[1]), _plain(columns[2]), user))
    return found


def _place(address: tuple[str, int]) -> str:
    """An address as the tables write it."""
    host, port = address[:2]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return _plain(f"{''.join(f'{word:08X}' for word in words)}:{port:04X}")


def _plain(place: str) -> str:
    """An IPv4 address that is written as one of IPv6, as IPv4."""
    mapped = "0000000000000000FFFF0000"
    return place.removeprefix(mapped) if len(place) > len(mapped) else place
