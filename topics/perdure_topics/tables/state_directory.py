"""Where a machine keeps its tables, and what else it can make again from the log."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_STATE_DIR: Final = "PERDURE_STATE_DIR"


def resolve_state_directory(given: str | Path | None = None) -> Path:
    """Where this machine keeps its tables: as given, PERDURE_STATE_DIR, or the user's data."""
    chosen = given or os.environ.get(_STATE_DIR)
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "perdure"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "perdure"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "perdure"
