"""What a client raises, as the codes that a gateway answers with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from perdure._records.rpc_errors import RPCError
from perdure.client._exceptions import (
    RPCTimeoutOrCancelledError,
    ScheduleAlreadyRunningError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from perdure_topics.ports import LogError, LogUnavailableError
from perdure_views.gateway.backend import DeskError


@contextmanager
def coded() -> Iterator[None]:
    """What is raised inside leaves as a DeskError with its code."""
    try:
        yield
    except RPCError as error:
        raise DeskError(error.status.name.lower(), error.message) from error
    except RPCTimeoutOrCancelledError as error:
        raise DeskError("deadline_exceeded", str(error)) from error
    except WorkflowQueryFailedError as error:
        raise DeskError("query_failed", str(error)) from error
    except WorkflowUpdateFailedError as error:
        raise DeskError("rejected", str(error.cause)) from error
    except ScheduleAlreadyRunningError as error:
        raise DeskError("already_exists", str(error)) from error
    except LogUnavailableError as error:
        raise DeskError("unavailable", str(error)) from error
    except LogError as error:
        raise DeskError("failed_precondition", str(error)) from error
    except ValueError as error:
        raise DeskError("invalid", str(error)) from error
