"""What commands have in common: whom they are about, how they are known again, how old they are.

The classes are bases, none of which is a record of its own; the order of a record's fields is its
.avsc's. How old a record is as it leaves, and how long its sender will wait, is in a Kafka header:
points in time that a client writes are by its own clock, which may be days off, or may step from
one sending to the next. What has passed, a machine counts rightly whatever its clock says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from perdure_schemas.payloads import EffectId, Payload, Record, ReplyTo, RunRef

AGE: Final = "perdure-age"
_DIGITS_MAX = 15


class Command(Record, frozen=True, kw_only=True, gc=False):
    """What a host takes from its topic. A command that lacks one of these fields has it empty."""

    @property
    def workflow_id(self) -> str:
        """The workflow it is about; empty for one about a worker or a partition."""
        return ""

    @property
    def request_id(self) -> str:
        """By which it is taken once however often it is sent; empty for none."""
        return ""

    @property
    def first_sent_ms(self) -> int:
        """When it was sent for the first time, by its sender's clock; 0 where that is not said."""
        return 0

    @property
    def reply(self) -> ReplyTo | None:
        """Where its sender waits for an answer."""
        return None

    @property
    def source(self) -> EffectId | None:
        """The record that it came from, where an actor sent it."""
        return None

    @property
    def header(self) -> dict[str, Payload] | None:
        """What travels beside its arguments; None where it has none."""
        return None


class RoutedCommand(Command, frozen=True, kw_only=True, gc=False):
    """A command that belongs to the partition of its workflow id, whoever sends it."""

    workflow_id: str
    request_id: str = ""
    first_sent_ms: int = 0
    reply: ReplyTo | None = None
    source: EffectId | None = None
    identity: str = ""


class RunCommand(RoutedCommand, frozen=True, kw_only=True, gc=False):
    """A command to a run: the named one, or the newest; of the chain that a named run began."""

    run_id: str = ""
    first_run_id: str = ""

    @property
    def child_of(self) -> RunRef | None:
        """The parent whose child the run must be; None for any."""
        return None


class ActivityOperation(RoutedCommand, frozen=True, kw_only=True, gc=False):
    """What people do to pending activities of a run: to the one of an id, or to all of a type."""

    run_id: str = ""
    activity_id: str = ""
    activity_type: str = ""


class AttemptReport(Command, frozen=True, kw_only=True, gc=False):
    """What is reported of one attempt of an activity, to the partition that its task came from."""

    workflow_id: str
    run_id: str
    activity_id: str
    attempt: int
    token: bytes
    worker_id: str = ""
    identity: str = ""


class AttemptOutcome(AttemptReport, frozen=True, kw_only=True, gc=False):
    """How an attempt ended."""

    started_ms: int = 0
    reply: ReplyTo | None = None

    @property
    def request_id(self) -> str:
        """An asker sends again what it has no answer to; it is taken once."""
        return self.reply.correlation_id if self.reply is not None else ""


class ActorReport(Command, frozen=True, kw_only=True, gc=False):
    """What an actor is told of what it asked another for; only hosts write these."""

    workflow_id: str
    run_id: str
    source: EffectId | None = None


class ReadCommand(Command, frozen=True, kw_only=True, gc=False):
    """A command that only reads: it is answered, and nothing is recorded."""

    reply: ReplyTo


class Sending(NamedTuple):
    """What a sender says of one sending of a record."""

    age_ms: int
    """How long ago it was first sent."""
    left_ms: int
    """How long its sender waits for an answer from now on; -1: it has not said."""


def age_header(age_ms: int, left_ms: int = -1) -> tuple[str, bytes]:
    """The header of a record that is sent now."""
    left = b"%d" % left_ms if left_ms >= 0 else b""
    return AGE, b"%d|%b" % (max(age_ms, 0), left)


def sending_in(headers: Iterable[tuple[str, bytes]] | None) -> Sending | None:
    """What the sender of a record said; None for one that did not."""
    for name, value in headers or ():
        if name == AGE:
            age, _, left = value.partition(b"|")
            return Sending(_number(age, 0), _number(left, -1))
    return None


def _number(digits: bytes, otherwise: int) -> int:
    if digits.isdigit() and len(digits) <= _DIGITS_MAX:
        return int(digits)
    return otherwise
