"""How far inputs have been read: deadlines that an unread command could refute wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_topics.names import topic_name
from perdure_topics.ports import LogError

if TYPE_CHECKING:
    from perdure_actors import rows
    from perdure_actors.owned import Owned
    from perdure_topics.ports import EndProbe

QUIET_MS = 2_000
"""A foreign transaction's marks take offsets too; nothing new for so long means read to the end."""


class Horizon:
    """Up to which append time the inputs of one shard are taken."""

    def __init__(self, shard: Owned) -> None:
        services = shard.services
        self._shard = shard
        self._topic = topic_name("commands", services.namespace, services.task_queue)
        self._read_to_ms = 0
        self._probe: tuple[EndProbe, int] | None = None
        self._held_back: list[rows.Alarm] = []

    @property
    def is_asking(self) -> bool:
        """Whether the log has been asked where its end is."""
        return self._probe is not None

    def has_read_to(self, due_ms: int) -> bool:
        """Whether every input appended before a moment has been taken; if not, the log is asked.

        The log's own timestamps do not tell: its clock may be ahead of this host's, by which the
        moment was set.
        """
        if self._read_to_ms >= due_ms:
            return True
        if self._probe is None:
            shard = self._shard
            probe = shard.services.inputs.probe_end(self._topic, shard.partition)
            self._probe = (probe, shard.world.now_ms())
        return False

    def hold_back(self, alarm: rows.Alarm) -> None:
        """Keep a deadline until inputs are read to it."""
        self._held_back.append(alarm)

    def check(self, now_ms: int) -> None:
        """Look whether the log has answered, and inputs are taken to where it said."""
        if self._probe is None:
            return
        probe, asked_ms = self._probe
        try:
            end = probe.end()
        except LogError:
            self._probe = None
            self._let_go()
            return
        if end is None:
            return
        if self._shard.upto + 1 >= end or now_ms - asked_ms > QUIET_MS:
            self._read_to_ms = max(self._read_to_ms, asked_ms)
            self._probe = None
            self._let_go()

    def _let_go(self) -> None:
        """The deadlines that waited are looked at again."""
        held, self._held_back = self._held_back, []
        for alarm in held:
            self._shard.alarms.add(alarm)
