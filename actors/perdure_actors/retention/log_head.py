"""The head of a log: cut off below a checkpoint that a second reader has found right.

Never elsewhere, and never above what a registered reader has read. Everything else can wait: a log
that is not cut is only larger.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from perdure_actors.retention.second_reader import CANNOT_GO_ON, SecondReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from perdure_actors.table_layout import Meta, WholeCheckpoint

logger = logging.getLogger("perdure.host")
AGAIN_MS: Final = 60_000
"""After a look, or a cut, that could not be brought to its end, or that somebody holds up."""


class Written(Protocol):
    """What an owner has written."""

    meta: Meta


class Sent(Protocol):
    """How far effects are sent."""

    @property
    def dispatched(self) -> int:
        """The pseq up to which every effect is acknowledged."""


class LogHead:
    """Looks at each whole checkpoint of one owner's log once, and cuts the log below it."""

    def __init__(
        self,
        written: Written,
        sent: Sent,
        *,
        look: Callable[[WholeCheckpoint], SecondReader],
        held_by: Callable[[int], str],
        cut: Callable[[int], Future[None]],
        finding: Callable[[str, str], None],
        name: str,
    ) -> None:
        """`held_by` says who has yet to read something below an offset; empty for nobody."""
        self._written = written
        self._sent = sent
        self._look = look
        self._held_by = held_by
        self._cut = cut
        self._finding = finding
        self._name = name
        self._reader: SecondReader | None = None
        self._right: WholeCheckpoint | None = None
        """The newest checkpoint that was found right."""
        self._looked: WholeCheckpoint | None = None
        self._under_way: Future[None] | None = None
        self._cut_to = 0
        self._again_ms = 0

    @property
    def is_reading(self) -> bool:
        """Whether a look is on its way."""
        return self._reader is not None

    def step(self, mono_ms: int, verified_to: int) -> None:
        """One turn; up to an offset the log was read by whoever holds it against the table."""
        if self._reader is not None:
            self._read(self._reader, mono_ms)
        elif self._under_way is not None:
            self._finish(self._under_way, mono_ms)
        elif mono_ms >= self._again_ms:
            self._begin(mono_ms, verified_to)

    def _begin(self, mono_ms: int, verified_to: int) -> None:
        whole = self._written.meta.checkpoint
        if whole is None or whole.first_offset <= self._cut_to:
            return
        if verified_to < whole.last_offset or self._sent.dispatched < whole.pseq:
            return
        if self._held_by(whole.first_offset):
            self._again_ms = mono_ms + AGAIN_MS
        elif whole == self._right:
            self._under_way = self._cut(whole.first_offset)
        elif whole != self._looked:
            try:
                self._reader = self._look(whole)
            except CANNOT_GO_ON as error:
                self._wait(error, mono_ms)
            else:
                self._looked = whole

    def _read(self, reader: SecondReader, mono_ms: int) -> None:
        try:
            reader.step()
        except CANNOT_GO_ON as error:
            self._close()
            self._looked = None
            self._wait(error, mono_ms)
            return
        if not reader.is_done:
            return
        self._close()
        if reader.wrong:
            self._finding(
                "checkpoint_wrong",
                f"the checkpoint in {self._name} is not what the log makes: {reader.wrong}. Nothing"
                " is cut off, and the log is read from its head as before; report this",
            )
        else:
            self._right = self._looked

    def _finish(self, under_way: Future[None], mono_ms: int) -> None:
        if not under_way.done():
            return
        self._under_way = None
        error = under_way.exception()
        if error is not None:
            self._wait(error, mono_ms)
            return
        assert self._right is not None, "only what was found right is cut to"
        self._cut_to = self._right.first_offset
        logger.info("%s now begins with the checkpoint at offset %d", self._name, self._cut_to)

    def _wait(self, error: BaseException, mono_ms: int) -> None:
        self._again_ms = mono_ms + AGAIN_MS
        logger.warning("the head of %s is not cut off for now: %s", self._name, error)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def close(self) -> None:
        """Stop reading."""
        self._close()
