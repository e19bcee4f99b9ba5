"""A client's exceptions as error codes of the gateway."""

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
from perdure_views.gateway.backend import BackendError


@contextmanager
def coded() -> Iterator[None]:
    """What is raised inside leaves as a BackendError with its code."""
    try:
        yield
    except RPCError as error:
        raise BackendError(error.status.name.lower(), error.message) from error
    except RPCTimeoutOrCancelledError as error:
        raise BackendError("deadline_exceeded", str(error)) from error
    except WorkflowQueryFailedError as error:
        raise BackendError("query_failed", str(error)) from error
    except WorkflowUpdateFailedError as error:
        raise BackendError("rejected", str(error.cause)) from error
    except ScheduleAlreadyRunningError as error:
        raise BackendError("already_exists", str(error)) from error
    except LogUnavailableError as error:
        raise BackendError("unavailable", str(error)) from error
    except LogError as error:
        raise BackendError("failed_precondition", str(error)) from error
    except ValueError as error:
        raise BackendError("invalid", str(error)) from error
