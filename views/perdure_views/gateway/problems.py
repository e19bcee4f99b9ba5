"""Errors as answers: one code and one HTTP status each."""

from __future__ import annotations

from typing import Final, TypeVar

from perdure_schemas.payloads import Record
from perdure_schemas.replies import Refused
from perdure_views.gateway.backend import BackendError

R = TypeVar("R", bound=Record)

STATUS: Final = {
    "invalid": 400,
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "foreign": 403,
    "not_found": 404,
    "wrong_method": 405,
    "too_slow": 408,
    "already_started": 409,
    "already_exists": 409,
    "open": 409,
    "closed": 409,
    "already_closed": 409,
    "failed_precondition": 409,
    "too_old": 409,
    "unreadable": 409,
    "too_large": 413,
    "wrong_media": 415,
    "query_failed": 422,
    "rejected": 422,
    "misdirected": 421,
    "too_many": 429,
    "busy": 429,
    "resource_exhausted": 429,
    "internal": 500,
    "unsupported": 501,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


class ProblemError(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str, *, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> int:
        """The HTTP status of the code; a code that a newer host invents is a conflict."""
        return STATUS.get(self.code, 409)


def expect(kind: type[R], what: str, answer: Record) -> R:
    """An answer as the record it must be. Raises ProblemError for a refusal or another record."""
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, Refused):
        run = f" (run {answer.run_id})" if answer.run_id else ""
        raise ProblemError(answer.code, f"{what}: {answer.message or answer.code}{run}")
    raise ProblemError("internal", f"{what}: answered with a {type(answer).__name__}")


def problem_of(error: BackendError) -> ProblemError:
    """An error of the backend, as an answer."""
    return ProblemError(error.code, error.message)
