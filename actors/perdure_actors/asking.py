"""Who waits for an answer: asks that a record must cover first, and word to those who wait long."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from perdure_actors.failed_input import internal
from perdure_actors.fence import PASSING, reason_of
from perdure_actors.proposal import closing_of
from perdure_actors.reads import READS, WAITS, notices_of
from perdure_actors.update_waits import UpdateWaits

if TYPE_CHECKING:
    from perdure_actors.owned import Owned
    from perdure_schemas.commands import ReadHistory
    from perdure_schemas.payloads import ReplyTo
    from perdure_schemas.replies import RunClosed

WAITERS_NOTICED = 50
NOTICED_HELD = 20_000


class Asking:
    """The asks of one shard."""

    def __init__(self, shard: Owned) -> None:
        self._shard = shard
        self._reads: deque[tuple[int, Any]] = deque()
        self._watchers: dict[str, list[ReadHistory]] = {}
        self._waiters: dict[str, dict[str, ReplyTo]] = {}
        self._noticed: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.updates = UpdateWaits(shard)

    @property
    def reads_wait(self) -> bool:
        """Whether asks wait for a record that covers them."""
        return bool(self._reads)

    @property
    def runs_waited_for(self) -> int:
        """How many runs somebody waits for."""
        return len(self._waiters)

    def ask(self, offset: int, ask: Any) -> None:
        """Take an ask; one whose asker has given up is passed over."""
        reply: ReplyTo = ask.reply
        if reply.deadline_ms and reply.deadline_ms < self._shard.services.clock.wall_ms():
            return
        waits = WAITS.get(type(ask))
        run_id = waits(self._shard, ask) if waits else ""
        if run_id:
            self._waiters.setdefault(run_id, {})[reply.correlation_id] = reply
        else:
            self._reads.append((offset, ask))

    def answer_reads(self) -> None:
        """Answer the asks that an accepted record covers."""
        upto = self._shard.cursor.upto
        while self._reads and self._reads[0][0] <= upto:
            self._read(self._reads.popleft()[1])

    def _read(self, ask: Any) -> None:
        """Answer an ask. One that cannot be is answered all the same, and those behind it go on."""
        shard = self._shard
        try:
            answer = READS[type(ask)](shard, ask)
        except PASSING:
            raise
        except Exception as error:
            answer = internal(reason_of(error))
            where = f"partition {shard.partition} of {shard.task_queue!r}"
            text = f"a {type(ask).__name__} could not be answered in {where}: {reason_of(error)}"
            shard.fence.tell(shard.services, "ask_failed", text, error)
        if answer is not None:
            shard.answer(ask.reply, answer)

    def watch(self, run_id: str, ask: ReadHistory) -> None:
        """Answer a history ask once there are events for it."""
        self._watchers.setdefault(run_id, []).append(ask)

    def moved(self, run_id: str) -> None:
        """A run has new accepted events."""
        for ask in self._watchers.pop(run_id, ()):
            self._read(ask)

    def wait(self, reply: ReplyTo, run_id: str) -> None:
        """Answer an asker once a run has closed; at once if that is accepted."""
        resident = self._shard.residents.find(run_id)
        closed = closing_of(resident) if resident and not resident.pinned else None
        if closed is not None:
            self._shard.answer(reply, closed)
        else:
            self._waiters.setdefault(run_id, {})[reply.correlation_id] = reply

    def closed(self, closed: RunClosed) -> None:
        """A run has closed, and that is accepted: tell those who wait."""
        for reply in self._waiters.pop(closed.run_id, {}).values():
            self._shard.answer(reply, closed)
        self.updates.closed(closed.run_id)

    def keep_house(self) -> None:
        """Forget who has given up waiting; tell the others why a run does not move."""
        wall_ms = self._shard.services.clock.wall_ms()
        for run_id, waiting in list(self._waiters.items()):
            for correlation_id, reply in list(waiting.items()):
                if reply.deadline_ms and reply.deadline_ms < wall_ms:
                    del waiting[correlation_id]
            if not waiting:
                del self._waiters[run_id]
        self.updates.keep_house(wall_ms)
        for run_id in [*self._waiters, *self.updates.runs][:WAITERS_NOTICED]:
            self._notice(run_id)
        while len(self._noticed) > NOTICED_HELD:
            self._noticed.popitem(last=False)

    def _notice(self, run_id: str) -> None:
        run = self._shard.world.run(run_id)
        if run is None:
            return
        for notice in notices_of(
            self._shard, run.state, list(run.activities.values()), list(run.children.values())
        ):
            for reply in (*self._waiters.get(run_id, {}).values(), *self.updates.of_run(run_id)):
                key = (reply.correlation_id, notice.code)
                if key not in self._noticed:
                    self._noticed[key] = None
                    self._shard.answer(reply, notice)
