"""What a client asks, and an ask under way or too late. Sending is the asker's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from perdure._records.rpc_errors import RPCError, RPCStatusCode
from perdure_schemas.payloads import Record, ReplyTo
from perdure_schemas.replies import Accepted, Notice, Reply
from perdure_topics.ports import Headers

FIRST_REPEAT_S: Final = 5.0
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
PARTS_MAX: Final = 8
KEPT_S: Final = 3.0
"""So long a host is waited for, where it is enough that the log has a command."""
LAST_S: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, and of which partition."""

    what: str
    """The ask in a person's words, for messages."""
    task_queue: str
    topic: str
    partition: int
    key: bytes | None
    make: Callable[[ReplyTo], Record]
    timeout_s: float | None
    is_prompt: bool = True
    """An answer is due at once; False for an answer that comes when a run closes."""
    waits: bool = False
    """A start that is answered twice: when it is accepted, and when what it waits for is there."""
    again: Callable[[Accepted, ReplyTo], Record] | None = None
    """What is asked from then on, in place of the start; without it, for the run's end."""
    on_notice: Callable[[Notice], None] | None = None
    kept_s: float | None = None
    """How long a host is waited for where it is enough that the log has it; None: for ever."""
    headers: Headers = ()
    """What rides along in the record's headers: the caller's place in a trace."""


class Ask:
    """A question under way."""

    __slots__ = (
        "accepted",
        "answer",
        "correlation_id",
        "deadline_s",
        "is_for_code",
        "is_heard",
        "made_ms",
        "notice",
        "offset",
        "parts",
        "planned_s",
        "question",
        "repeat_s",
        "sent_s",
        "value",
        "was_told",
    )

    def __init__(
        self,
        question: Question,
        correlation_id: str,
        value: bytes,
        loop: asyncio.AbstractEventLoop,
        made_ms: int,
    ) -> None:
        now = loop.time()
        timeout_s = question.timeout_s
        self.question = question
        self.correlation_id = correlation_id
        self.value = value
        self.answer: asyncio.Future[Record] = loop.create_future()
        self.accepted: asyncio.Future[Record] = (
            loop.create_future() if question.waits else self.answer
        )
        self.sent_s = now
        self.made_ms = made_ms
        """When it was made, by the monotonic clock: by it each sending says how old it is."""
        self.deadline_s = float("inf") if timeout_s is None else now + timeout_s
        self.repeat_s = now + FIRST_REPEAT_S
        self.planned_s = float("inf")
        """When it is looked at next."""
        self.offset: int | None = None
        self.is_for_code = False
        self.is_heard = False
        self.parts: list[Reply] = []
        """Of an answer in several records: those that have come, in their order."""
        self.notice = ""
        """What its host said last of why it takes so long."""
        self.was_told = False

    def whole(self, reply: Reply) -> bytes | None:
        """The bytes of an answer, once all its parts have come, one behind the other.

        A part that does not follow belongs to another answer to the same ask, which is repeated.
        """
        if reply.parts <= 1:
            return reply.body
        last = self.parts[-1] if self.parts else None
        if reply.part == 1 or last is None:
            self.parts = []
        elif (last.partition, last.offset, last.part + 1) != (
            reply.partition,
            reply.offset,
            reply.part,
        ):
            self.parts = []
            return None
        if reply.part != len(self.parts) + 1 or reply.parts > PARTS_MAX:
            return None
        self.parts.append(reply)
        if reply.part < reply.parts:
            return None
        parts, self.parts = self.parts, []
        return b"".join(part.body for part in parts)

    def is_kept_by(self, now_s: float) -> bool:
        """Whether the log has it, that is enough, and no host has said a word in time."""
        at_s = self.kept_at_s
        return at_s is not None and self.offset is not None and now_s >= at_s

    @property
    def kept_at_s(self) -> float | None:
        """From when on it is enough that the log has it; None while a host is waited for."""
        kept_s = self.question.kept_s
        if kept_s is None or self.is_heard:
            return None
        return min(self.sent_s + kept_s, self.deadline_s - LAST_S)

    def fail(self, error: Exception) -> None:
        """End the ask with an error, at the first future that still waits."""
        for future in (self.accepted, self.answer):
            if not future.done():
                future.set_exception(error)
                # A start that failed leaves nobody to read its second answer.
                future.exception()


def too_late(ask: Ask, waited_s: float, address: str, last_error: str) -> RPCError:
    """The error of an ask whose time is over: how far it came, and why no further."""
    question = ask.question
    waited = f"{waited_s:.1f} s"
    if ask.offset is None:
        why = f" ({last_error})" if last_error else ""
        return RPCError(
            f"{question.what}: {address} did not take the command within {waited}{why}",
            RPCStatusCode.UNAVAILABLE,
        )
    if ask.notice:
        return RPCError(
            f"{question.what}: not done within {waited}: {ask.notice}",
            RPCStatusCode.DEADLINE_EXCEEDED,
        )
    return RPCError(
        f"{question.what}: no worker of task queue {question.task_queue!r} on {address} answered"
        f" within {waited}; the command is in {question.topic}, partition {question.partition},"
        f" offset {ask.offset}, and a worker that comes will take it",
        RPCStatusCode.DEADLINE_EXCEEDED,
    )
