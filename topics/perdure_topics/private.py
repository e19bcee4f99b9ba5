"""Files and directories of this user alone: made so whatever the umask, and read only if so."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

SECRET_BYTES_MAX: Final = 16 * 1024 * 1024
_IN_CONTAINER: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))


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


def read_secret(path: Path, *, bytes_max: int = SECRET_BYTES_MAX) -> str:
    """The text of a file that holds a secret: one that nobody else can read, as mode 0600.

    In a container its own group may read it too (mode 0440): so Kubernetes mounts secrets for a
    user that is not root. Raises ValueError for one that others can read, or that is too large or
    no text, OSError.
    """
    with path.open("rb") as file:
        # What is open is what is looked at: another one cannot be put there meanwhile.
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        if mode & (0o037 if _is_of_our_group(status) else 0o077):
            raise ValueError(
                f"{path} can be read or written by others (mode {mode:04o}): chmod 600 {path}"
            )
        raw = file.read(bytes_max + 1)
    if len(raw) > bytes_max:
        raise ValueError(f"{path} is larger than {bytes_max} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None


def _is_of_our_group(status: os.stat_result) -> bool:
    """Whether this is a container, and the file's group one that its process was given."""
    is_container = "KUBERNETES_SERVICE_HOST" in os.environ or any(
        mark.exists() for mark in _IN_CONTAINER
    )
    return is_container and status.st_gid in (os.getegid(), *os.getgroups())
