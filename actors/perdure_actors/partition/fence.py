"""The fence round what is done (rule 10): what fails is named; what fails again is set aside.

Nothing that one input, read, deadline or effect makes this code raise may end a host, or keep a
partition from going on. What raises before anything of it has happened is set aside at once. What
raises later has left memory ahead of the log: the shard is given back, taken over again, and the
same thing is tried again; after three times no code is run on it, and after one more it is set
aside. The count outlives the shard: it is kept by the slot of its host.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from perdure_schemas.replies import Refused
from perdure_topics.ports import LogError, TableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_actors.partition.services import Services

logger = logging.getLogger("perdure.host")
INPUT: Final = "input"
DEADLINE: Final = "deadline"
BLOCKED_RUN: Final = "blocked run"
LOST_WORKER: Final = "lost worker"
LOCAL_REPORT: Final = "report of a local activity"
FAILURES_MAX = 3
"""So often one thing may fail before no code is run on it."""
FAILURES_HELD = 200
BACK_OFF_MS = 2_000
BACK_OFF_MAX_MS = 60_000
SAY_EVERY_MS = 60_000
REASON_CHARS_MAX = 500
INTERNAL: Final = "internal"
"""The code of an answer of a host that failed at what it was asked."""


class AppendFailedError(Exception):
    """An append failed, or its fate is unknown: the shard must be taken over again."""


PASSING = (AppendFailedError, LogError, TableError)
"""Trouble of the log or of the table: no fault of what was being done."""


class Deed(NamedTuple):
    """One thing that a shard does, by which what fails is told from the rest."""

    kind: str
    key: object

    def __str__(self) -> str:
        where = f"{self.kind} at offset" if self.kind == INPUT else self.kind
        return f"the {where} {str(self.key)[:200]}"


class Attempt:
    """One thing that is being done; whoever does it calls it within, so that nothing calls back."""

    __slots__ = ("_drafts", "_fence", "error")

    def __init__(self, fence: Fence, drafts: int) -> None:
        self._fence = fence
        self._drafts = drafts
        self.error: Exception | None = None
        """What it raised before anything of it had happened."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """What was raised before anything of it had happened stays within.

        What is raised later goes on to whoever holds the shard, and so does trouble of the log or
        of the table.
        """
        fence = self._fence
        if error is None:
            if fence.failed and fence.doing is not None:
                fence.failed.pop(fence.doing, None)
            fence.doing = None
            return False
        if isinstance(error, PASSING) or not isinstance(error, Exception):
            return False
        if fence.drafts != self._drafts:
            return False
        self.error = error
        fence.doing = None
        return True


class Fence:
    """What is being done in one slot of a host, and what has failed there over its shards."""

    def __init__(self) -> None:
        self.drafts = 0
        """How many transitions were begun: each puts memory ahead of the log."""
        self.doing: Deed | None = None
        """What is being done now, if that can be told."""
        self.failed: OrderedDict[Deed, tuple[int, str]] = OrderedDict()
        """How often what has failed so far, and why it did last."""
        self._back_off = 0, 0
        self._said: dict[str, tuple[int, int]] = {}

    def attempt(self, kind: str, key: object) -> Attempt:
        """What is done within is known by this; what it raised is its `error` afterwards."""
        self.doing = Deed(kind, key)
        return Attempt(self, self.drafts)

    def put_off(self) -> None:
        """What is being done is not done yet: nothing is known of how it goes."""
        self.doing = None

    def let_out(self, services: Services, act: Callable[..., None], *args: Any) -> None:
        """Do one thing that an accepted record brings; the rest is done even if it fails."""
        try:
            act(*args)
        except PASSING:
            raise
        except Exception as error:
            text = f"{act.__qualname__} failed: {reason_of(error)}"
            self.tell(services, "not_done", text, error)

    def escaped(self, error: BaseException) -> Deed | None:
        """What was being done when the shard was lost, which counts as one more failure of it."""
        deed, self.doing = self.doing, None
        if deed is not None:
            count, _ = self.failed.pop(deed, (0, ""))
            self.failed[deed] = (count + 1, reason_of(error))
            if len(self.failed) > FAILURES_HELD:
                self.failed.popitem(last=False)
        return deed

    def back_off_ms(self, deed: Deed | None, now_ms: int) -> int:
        """How long to wait before the slot is tried again; longer each time nobody knows why."""
        if deed is not None:
            return 0
        last_ms, wait_ms = self._back_off
        again = now_ms - last_ms < 10 * BACK_OFF_MAX_MS
        wait_ms = min(2 * wait_ms, BACK_OFF_MAX_MS) if again and wait_ms else BACK_OFF_MS
        self._back_off = now_ms, wait_ms
        return wait_ms

    def refusal(self, kind: str, key: object) -> str:
        """Why no code may be run on something; empty when it may."""
        count, reason = self._of(kind, key)
        if count < FAILURES_MAX:
            return ""
        return (
            f"{Deed(kind, key)} was tried {count} times, and each time its host had to give the"
            f" partition back: {reason}. The code is not run on it again"
        )

    def is_set_aside(self, kind: str, key: object) -> str:
        """Why something is not done at all any more; empty when it may be tried."""
        count, reason = self._of(kind, key)
        return reason if count > FAILURES_MAX else ""

    def _of(self, kind: str, key: object) -> tuple[int, str]:
        return self.failed.get(Deed(kind, key), (0, "")) if self.failed else (0, "")

    def tell(self, services: Services, code: str, text: str, error: BaseException | None) -> None:
        """Tell people of something that failed, with its trace: once a minute for each kind."""
        kind = f"{code} {type(error).__name__}"
        now_ms = services.clock.monotonic_ms()
        said_ms, held = self._said.get(kind, (now_ms - SAY_EVERY_MS, 0))
        if now_ms - said_ms < SAY_EVERY_MS:
            self._said[kind] = (said_ms, held + 1)
            return
        if len(self._said) > FAILURES_HELD:
            self._said.clear()
        self._said[kind] = (now_ms, 0)
        more = f" ({held} more of the kind since it was last said)" if held else ""
        if error is not None:
            logger.warning("%s", text, exc_info=error)
        services.finding(code, text + more)


def reason_of(error: BaseException) -> str:
    """What an error says, as text that can be written, of a length that fits anywhere."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:
        text = f"{type(error).__name__}, which says nothing that can be written"
    return text[:REASON_CHARS_MAX].encode(errors="backslashreplace").decode()


def internal(what: str) -> Refused:
    """The answer of a host that failed at what it was asked."""
    return Refused(
        code=INTERNAL,
        message=f"the host failed at this, which is a fault of its own: {what}. Its log has more",
    )
