"""The context variable of a running activity's client."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.client import Client

CLIENT: ContextVar[Client] = ContextVar("perdure_activity_client")
"""Set before a worker starts its activities, which take over what was set."""
