"""An endpoint as a table row, from which its route and its description are made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from perdure_views.gateway.backend import GatewayBackend
from perdure_views.gateway.bodies import Body
from perdure_views.gateway.principals import Principal
from perdure_views.gateway.problems import ProblemError
from perdure_views.gateway.settings import Settings
from perdure_views.gateway.shapes import Shape

TEXT_CHARS_MAX: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Param:
    """A query parameter."""

    name: str
    says: str
    is_number: bool = False
    is_required: bool = False
    default: str = ""
    least: int = 0
    most: int = 2**53

    def read(self, given: str | None) -> str | int:
        """The value of a request. Raises ProblemError when it is missing or out of bounds."""
        if not given and self.is_required:
            raise ProblemError("invalid", f"{self.name} is missing: {self.says}")
        value = given or self.default
        if len(value) > TEXT_CHARS_MAX:
            raise ProblemError("invalid", f"{self.name} has more than {TEXT_CHARS_MAX} characters")
        if not self.is_number:
            return value
        try:
            number = int(value or "0")
        except ValueError:
            raise ProblemError("invalid", f"{self.name} is no whole number") from None
        if not self.least <= number <= self.most:
            raise ProblemError("invalid", f"{self.name} is {self.least} to {self.most}")
        return number


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, checked: who asks, the parameters, and the body."""

    backend: GatewayBackend
    settings: Settings
    principal: Principal
    params: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    shared: dict[Any, Any] = field(default_factory=dict)
    """What all calls of one gateway share; each user of it bounds its own part."""
    resume: str = ""
    """The id of the last event that a stream's reader has seen."""

    def text(self, name: str) -> str:
        """A parameter that is text."""
        return str(self.params[name])

    def number(self, name: str) -> int:
        """A parameter that is a number."""
        return int(self.params[name])


@dataclass(frozen=True, kw_only=True)
class Said:
    """One event of a stream."""

    event: str
    data: Shape
    id: str = ""


Answers = Callable[[Call], Awaitable[Shape]]
Streams = Callable[[Call], AsyncIterator[Said | None]]
"""A stream of events; None where there is no news, so that a reader that left is noticed."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A row: how it is asked for, who may, and who answers."""

    method: str
    path: str
    name: str
    says: str
    role: str
    answer: type[Shape]
    answers: Answers | None = None
    streams: Streams | None = None
    params: tuple[Param, ...] = ()
    body: type[Body] | None = None
    status: int = 200
