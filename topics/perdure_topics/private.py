"""Directories of this user alone, whatever files are made in them, and by whom."""

from __future__ import annotations

from pathlib import Path


def make_private(path: Path) -> None:
    """Make a directory that only its owner may enter, whatever the umask; and its parents.

    One that is there already is closed to others if it is this user's own, its parents are left
    as they are. Raises OSError.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_mode & 0o077:
        try:
            path.chmod(0o700)
        except PermissionError:
            # Another user's, who shares it: a mount of a container, perhaps.
            return
