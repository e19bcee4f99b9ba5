"""The release number, kept here once for the packaging, the records and the front door."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
