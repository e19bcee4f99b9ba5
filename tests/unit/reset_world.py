"""A real host with activities that are answered by hand, for tests of resets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perdure_actors.definitions.workflow_code import WorkflowCode
from perdure_schemas.avro import decode
from perdure_schemas.commands import (
    AwaitResult,
    CompleteActivity,
    DescribeWorkflow,
    ListWorkflows,
    ReadHistory,
    ResetWorkflow,
)
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.message_commands import SignalWorkflow, UpdateWorkflow
from perdure_schemas.payloads import Payload, Record
from perdure_schemas.replies import HistoryPage, Refused, RunClosed
from perdure_schemas.tasks import ActivityTask
from tests.simulation.rebuild import content, difference, rebuilt
from tests.unit.host_world import HostWorld

CONVERTER = DefaultPayloadConverter()
ANSWERED_MS = 400


class ResetWorld(HostWorld):
    """One partition, one host, and whoever speaks to it."""

    def begin(self, workflow_type: str) -> str:
        """Start `wf`; its run id."""
        self.run(1_000)
        self.start(workflow_type, "wf")
        self.run(ANSWERED_MS)
        run_id: str = self.describe("wf").summary.run_id
        return run_id

    def deploy(self, workflows: Sequence[type]) -> None:
        """Another release: the host ends, and one with other code takes its place."""
        self.code = WorkflowCode(workflows, converter=CONVERTER, deadlock_timeout_s=0)
        self.die()
        self.run(30_000)

    def _ask(self, kind: Any, **fields: Any) -> str:
        self.asked += 1
        name = f"ask {self.asked}"
        self.send(kind(reply=self.reply_to(name), **fields))
        self.run(ANSWERED_MS)
        return name

    def describe(self, workflow_id: str, run_id: str = "") -> Any:
        return self.answer(self._ask(DescribeWorkflow, workflow_id=workflow_id, run_id=run_id))

    def history(self, run_id: str, workflow_id: str = "wf") -> list[Any]:
        """The events of a run, as whoever asks has them."""
        name = self._ask(ReadHistory, workflow_id=workflow_id, run_id=run_id)
        page = self.answer(name)
        assert isinstance(page, HistoryPage), page
        assert not page.more
        seqs = [batch.seq for batch in page.batches]
        sizes = [len(batch.events) for batch in page.batches]
        assert seqs == [1 + sum(sizes[:place]) for place in range(len(sizes))]
        return [decode(data) for batch in page.batches for data in batch.events]

    def runs(self, workflow_id: str) -> int:
        """How many runs a workflow id has."""
        query = f"WorkflowId = '{workflow_id}'"
        answer = self.answer(self._ask(ListWorkflows, partition=0, query=query, count_only=True))
        count: int = answer.count
        return count

    def reset(self, seq: int, **more: Any) -> Any:
        """Ask for a reset; the answer."""
        self.asked += 1
        name = more.pop("request_id", f"reset {self.asked}")
        fields = {"workflow_id": "wf", "seq": seq, **more}
        self.send(ResetWorkflow(request_id=name, reply=self.reply_to(name), **fields))
        self.run(ANSWERED_MS)
        return self.answer(name)

    def signal(self, name: str, *args: Any, for_ms: int = ANSWERED_MS) -> None:
        """A signal, and so much time to take it."""
        values = CONVERTER.to_payloads(args)
        self.send(SignalWorkflow(workflow_id="wf", signal_name=name, input=values))
        self.run(for_ms)

    def update(self, name: str, *args: Any, update_id: str) -> None:
        self._ask(
            UpdateWorkflow,
            workflow_id="wf",
            update_name=name,
            update_id=update_id,
            input=CONVERTER.to_payloads(args),
        )

    def _tasks(self, run_id: str) -> list[ActivityTask]:
        found = [decode(record.value) for record in self.records("tasks")]
        return [one for one in found if isinstance(one, ActivityTask) and one.run_id == run_id]

    def asked_for(self, run_id: str) -> list[str]:
        """The activities of a run that were given out, in order."""
        return [task.activity_type for task in self._tasks(run_id)]

    def task(self, run_id: str, activity_type: str) -> ActivityTask:
        return next(one for one in self._tasks(run_id) if one.activity_type == activity_type)

    def complete(
        self,
        run_id: str,
        activity_type: str,
        value: Any,
        *,
        workflow_id: str = "wf",
        for_ms: int = ANSWERED_MS,
    ) -> None:
        """The first attempt of an activity returns, and so much time to take that."""
        task = self.task(run_id, activity_type)
        outcome = CompleteActivity(
            workflow_id=workflow_id,
            run_id=run_id,
            activity_id=task.activity_id,
            attempt=task.attempt,
            token=task.token,
            result=CONVERTER.to_payload(value),
        )
        self.send(outcome)
        self.run(for_ms)

    def await_result(self, run_id: str, workflow_id: str = "wf") -> str:
        return self._ask(AwaitResult, workflow_id=workflow_id, run_id=run_id)

    def closed(self, workflow_id: str) -> RunClosed:
        """How the newest run ended."""
        answer = self.answer(self._ask(AwaitResult, workflow_id=workflow_id))
        assert isinstance(answer, RunClosed), answer
        return answer

    def result(self, run_id: str, workflow_id: str = "wf") -> Any:
        """What the newest run returned, which has this id."""
        answer = self.closed(workflow_id)
        assert answer.run_id == run_id
        assert isinstance(answer.result, Payload), answer
        return CONVERTER.from_payload(answer.result)

    def check(self) -> None:
        """The table is what the log makes of an empty one, and nothing went wrong beside it."""
        self.run(30_000)
        assert differences(self) == []
        assert self.dead() == []
        assert self.findings == []


def differences(world: HostWorld) -> list[str]:
    """Where the table is not what the log makes of an empty one."""
    shard = world.host.slots[0].shard
    assert shard is not None
    theirs = rebuilt(world.records("events"), shard.meta)
    found = difference(content(shard.table), theirs, shard.meta.dispatched)
    return [found] if found else []


def refused(answer: Record, code: str) -> Refused:
    """An answer that is a refusal of this kind."""
    assert isinstance(answer, Refused), answer
    assert answer.code == code, answer
    return answer
