"""The client of the worker that runs an activity, as its code may ask for it. Nothing else."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.client import Client

CLIENT: ContextVar[Client] = ContextVar("perdure_activity_client")
"""Set before a worker starts its activities, which take over what was set."""
