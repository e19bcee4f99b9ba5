"""A host in small for tests of workflow code: takes events, keeps the history, replays it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perdure_actors.definitions.registry import workflow_definition
from perdure_actors.replay.coroutine import Coroutine, RunFacts
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.events import (
    ActivityCanceled,
    ActivityCompleted,
    ActivityFailed,
    ActivityTimedOut,
    TimerFired,
    WorkflowCancelRequested,
    WorkflowStarted,
)
from perdure_schemas.message_events import WorkflowSignaled, WorkflowUpdateAccepted
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record

FACTS = RunFacts("default", "queue", "order-1", "run-1")
CONVERTER = DefaultPayloadConverter()
START_MS = 1_700_000_000_000
Play = Callable[..., "Player"]


class Player:
    """One run of a workflow, played by hand."""

    def __init__(self, workflow: type, *args: Any, **started: Any) -> None:
        self.workflow = workflow
        self.run = coroutine(workflow)
        self.history: list[tuple[int, int, list[Record]]] = []
        self.time_ms = START_MS
        self.seq = 1
        self.outputs: list[Record] = []
        self.all_outputs: list[Record] = []
        self.give(
            WorkflowStarted(
                workflow_type=workflow_definition(workflow).name,
                input=CONVERTER.to_payloads(args),
                **started,
            )
        )

    def give(self, event: Record) -> list[Record]:
        """One input event; what the code asks for then."""
        self.outputs = self.run.advance(event, seq=self.seq, time_ms=self.time_ms)
        self.all_outputs += self.outputs
        self.history.append((self.seq, self.time_ms, [event, *self.outputs]))
        self.seq += 1 + len(self.outputs)
        return self.outputs

    def complete(self, activity_id: str, result: Any = None) -> list[Record]:
        payload = CONVERTER.to_payload(result)
        return self.give(ActivityCompleted(activity_id=activity_id, attempt=1, result=payload))

    def fail(self, activity_id: str, message: str = "it broke") -> list[Record]:
        failure = Failure(chain=[FailureCause(message=message, type="ValueError")])
        return self.give(
            ActivityFailed(
                activity_id=activity_id,
                attempt=3,
                failure=failure,
                retry_state="maximum_attempts_reached",
            )
        )

    def time_out(self, activity_id: str) -> list[Record]:
        return self.give(
            ActivityTimedOut(activity_id=activity_id, attempt=1, timeout_type="start_to_close")
        )

    def confirm_canceled(self, activity_id: str) -> list[Record]:
        return self.give(ActivityCanceled(activity_id=activity_id, attempt=1))

    def fire(self, timer_id: str, *, after_s: float = 0.0) -> list[Record]:
        self.time_ms += int(after_s * 1000)
        return self.give(TimerFired(timer_id=timer_id))

    def cancel(self, reason: str = "enough") -> list[Record]:
        return self.give(WorkflowCancelRequested(reason=reason))

    def signal(self, name: str, *args: Any) -> list[Record]:
        return self.give(WorkflowSignaled(signal_name=name, input=CONVERTER.to_payloads(args)))

    def update(self, name: str, *args: Any, update_id: str = "u") -> list[Record]:
        """An update that its validator lets through."""
        event = accepted(name, *args, update_id=update_id)
        assert self.refusal(event) is None
        return self.give(event)

    def refusal(self, event: WorkflowUpdateAccepted | WorkflowSignaled) -> Failure | None:
        """Why the code refuses a message; None when it does not."""
        return self.run.look("a validator", lambda messages: messages.problem_of(event))

    def query(self, name: str, *args: Any) -> Any:
        """What a query returns."""
        found = self.run.look(
            "a query handler",
            lambda messages: messages.answer(name, CONVERTER.to_payloads(args)),
        )
        assert isinstance(found, Payload), found
        return CONVERTER.from_payload(found)

    def replayed(self, workflow: type | None = None) -> Coroutine:
        """A new coroutine that has been through the whole history."""
        run = coroutine(workflow or self.workflow)
        for seq, time_ms, events in self.history:
            run.recall(events, seq=seq, time_ms=time_ms)
        return run

    def check(self) -> None:
        """The history replays, and leaves code that can be dropped without a sound."""
        self.replayed().close()
        self.run.close()


def coroutine(workflow: type) -> Coroutine:
    return Coroutine(workflow_definition(workflow), FACTS, converter=CONVERTER)


def accepted(name: str, *args: Any, update_id: str = "u") -> WorkflowUpdateAccepted:
    return WorkflowUpdateAccepted(
        update_id=update_id, update_name=name, input=CONVERTER.to_payloads(args)
    )


def kinds(outputs: list[Record]) -> list[str]:
    return [type(output).__name__ for output in outputs]


def result_of(output: Record) -> Any:
    payload = getattr(output, "result")  # noqa: B009 - only the end of a run has one
    return CONVERTER.from_payload(payload)
