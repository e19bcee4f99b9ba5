"""The failure that a user's failure converter makes and reads: a plain class."""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure.api.common.v1 import Payload
from perdure_schemas.payloads import FailureCause


@dataclass
class Failure:
    """What went wrong, and the failure that caused it.

    The text is here to be changed; what kind of failure it is, with its details, is `info`.
    """

    message: str = ""
    source: str = ""
    stack_trace: str = ""
    encoded_attributes: Payload | None = None
    cause: Failure | None = None
    info: FailureCause = field(default_factory=FailureCause)

    def CopyFrom(self, other: Failure) -> None:  # noqa: N802 - protobuf's name
        """Become a copy of another failure."""
        self.message = other.message
        self.source = other.source
        self.stack_trace = other.stack_trace
        self.encoded_attributes = other.encoded_attributes
        self.cause = other.cause
        self.info = other.info
