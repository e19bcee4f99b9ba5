"""Active and standby processes: a consumer group elects the one that works.

The group only suggests: whoever works fences whom it follows, so that a process which does not know
yet that its turn is over does no harm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_topics.ports import Log


class Turn:
    """Whether it is this process that works: the one with the first partition of a topic.

    When it ends, or is silent for longer than the group's session of 6 s, another has the turn.
    """

    def __init__(self, log: Log, group: str, topic: str, *, ring: Callable[[], None]) -> None:
        """Join a group over a topic; `ring` is called, from any thread, when the turn changes."""
        self._member = log.member(group, topic, on_ready=ring)
        self._is_mine = False

    def is_mine(self) -> bool:
        """Whether it is this process' turn now; what it did before is done when this is asked."""
        for change in self._member.changes():
            if change.partition == 0:
                self._is_mine = change.kind == "assigned"
            if change.kind == "revoked":
                self._member.release(change.partition)
        return self._is_mine

    def close(self) -> None:
        """Leave the group, so that another has the turn at once."""
        self._member.close()
