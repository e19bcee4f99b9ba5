"""How long a task queue keeps closed runs: shown, set, and looked at now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from perdure.client._connection import seconds
from perdure.client._exceptions import expect
from perdure_schemas.commands import ReadRetention
from perdure_schemas.operator_commands import RunRetention, SetRetention
from perdure_schemas.replies import Accepted, RetentionInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perdure.client._client import Client
    from perdure_schemas.payloads import Record, ReplyTo

_MS: Final = timedelta(milliseconds=1)
_FOR_EVER: Final = -1


class TaskQueueRetention:
    """How long a task queue keeps closed runs. After that they are known no more.

    Each partition keeps the rule in its log. Without one, closed runs are kept for 30 days.

    Args:
        client: A connected client; its namespace is meant.
        task_queue: The task queue.
        rpc_timeout: How long each call waits for an answer.

    Example:
        kept = TaskQueueRetention(client, "orders")
        await kept.set(timedelta(days=7), by_status={"failed": timedelta(days=90)})
    """

    def __init__(
        self, client: Client, task_queue: str, *, rpc_timeout: timedelta | None = None
    ) -> None:
        self._connection = client._connection
        self._task_queue = task_queue
        self._timeout_s = seconds(rpc_timeout)

    async def show(self) -> list[RetentionInfo]:
        """What each partition keeps, for how long, and what it would forget now.

        Raises RPCError when a partition does not answer.
        """
        answers = await self._ask(
            "show", lambda number, reply: ReadRetention(partition=number, reply=reply)
        )
        return [expect(RetentionInfo, self._what("show"), answer) for answer in answers]

    async def set(
        self,
        keep: timedelta | None,
        *,
        by_status: Mapping[str, timedelta | None] | None = None,
        cut_events: bool | None = None,
    ) -> None:
        """Keep closed runs for so long from now on; what was kept longer goes soon.

        Args:
            keep: How long after its end; zero is at once, None is for ever.
            by_status: The same for runs of a status, as `failed`, where that is another.
            cut_events: Whether events below a checkpoint are deleted; without it they are where
                the log is a directory of one machine.

        Raises:
            RPCError: A partition does not answer, or refuses a rule that cannot be.
        """
        kept = {status: _ms(one) for status, one in (by_status or {}).items()}
        answers = await self._ask(
            "set",
            lambda number, reply: SetRetention(
                partition=number,
                keep_ms=_ms(keep),
                by_status=kept,
                cut={None: "", True: "yes", False: "no"}[cut_events],
                request_id=reply.correlation_id,
                reply=reply,
                identity=self._connection.identity,
            ),
        )
        for answer in answers:
            expect(Accepted, self._what("set"), answer)

    async def run(self) -> None:
        """Let every partition look now, and not when its minute has come.

        Raises RPCError when a partition does not answer.
        """
        answers = await self._ask(
            "run",
            lambda number, reply: RunRetention(
                partition=number,
                request_id=reply.correlation_id,
                reply=reply,
                identity=self._connection.identity,
            ),
        )
        for answer in answers:
            expect(Accepted, self._what("run"), answer)

    def _what(self, call: str) -> str:
        return f"{call} of the retention of task queue {self._task_queue!r}"

    async def _ask(self, call: str, make: Callable[[int, ReplyTo], Record]) -> list[Record]:
        what, connection = self._what(call), self._connection
        async with connection.within(what, self._timeout_s):
            partitions = await connection.partitions(self._task_queue)
        return await connection.ask_partitions(
            what,
            make,
            task_queue=self._task_queue,
            partitions=range(partitions),
            timeout_s=self._timeout_s,
        )


def _ms(keep: timedelta | None) -> int:
    return _FOR_EVER if keep is None else keep // _MS
