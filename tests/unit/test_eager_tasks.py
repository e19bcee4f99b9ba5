"""A partition that hands tasks to its process's worker: what holds `dispatched`, what is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from perdure import workflow
from perdure.common import RetryPolicy
from perdure_actors import table_layout
from perdure_actors.partition.processor import PartitionProcessor
from perdure_actors.worker.attempt import Attempt, application_failure
from perdure_actors.worker.eager_intake import EagerIntake, Offer
from perdure_schemas.avro import decode, decode_as
from perdure_schemas.commands import (
    CancelWorkflow,
    ClaimActivity,
    CompleteActivity,
    FailActivity,
    TerminateWorkflow,
)
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_schemas.payloads import Failure, Payload, Record
from perdure_schemas.tasks import ActivityTask
from perdure_schemas.transition import Transition, TransitionBody
from tests.unit.host_world import HostWorld

pytestmark = pytest.mark.timeout(60)
MINUTE = timedelta(minutes=1)


@workflow.defn(sandboxed=False)
class Ordering:
    """One activity, as told."""

    @workflow.run
    async def run(self, attempts: int = 0, queue: str = "", timeout_s: int = 60) -> Any:
        return await workflow.execute_activity(
            "pay",
            task_queue=queue or None,
            start_to_close_timeout=timedelta(seconds=timeout_s),
            schedule_to_close_timeout=timedelta(seconds=timeout_s),
            retry_policy=RetryPolicy(
                maximum_attempts=attempts, initial_interval=timedelta(seconds=1)
            ),
        )


class EagerWorld(HostWorld):
    """A host, and the worker's side of its process in the test's hands."""

    def __init__(self, **fields: Any) -> None:
        self.intake = EagerIntake(["pay"])
        super().__init__([Ordering], eager=self.intake, **fields)
        self.intake.publish(10)
        self.run()

    @property
    def shard(self) -> PartitionProcessor:
        shard = self.host.slots[0].shard
        assert shard is not None
        return shard

    def begin(self, *args: Any, workflow_id: str = "a") -> None:
        converter = DefaultPayloadConverter()
        self.start("Ordering", workflow_id, input=converter.to_payloads(list(args)))
        self.run(200)

    def offers(self) -> list[Offer]:
        """What was handed over; each is begun, as a worker with free slots does."""
        return self.intake.take()

    def end(self, offer: Offer, result: bytes = b'"paid"') -> Attempt:
        """The attempt of an offer returns."""
        attempt = Attempt(offer.task, taken_ms=0, mailbox=offer.mailbox)
        assert self.intake.post(attempt, outcome_of(offer.task, result), len(result))
        return attempt

    def tasks(self) -> list[ActivityTask]:
        """What went by the topic."""
        return [decode_as(ActivityTask, record.value) for record in self.records("tasks")]

    def events(self, run: str = "") -> list[str]:
        """The kinds of all events that stand in accepted and other records, in order."""
        out = []
        for record in self.records("events"):
            envelope = decode(record.value)
            if isinstance(envelope, Transition):
                body = decode_as(TransitionBody, envelope.body)
                out += [type(decode(event)).__name__ for event in body.events]
        return out

    def issued(self) -> int:
        """The number of the record that the one pending activity was issued by."""
        found = self.shard.table.scan(*table_layout.prefix_range(table_layout.ACTIVITIES))
        ((_, row),) = list(found)
        return table_layout.decode_activity(row).issued.pseq


def outcome_of(task: ActivityTask, result: bytes = b'"paid"') -> CompleteActivity:
    return CompleteActivity(
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        activity_id=task.activity_id,
        attempt=task.attempt,
        token=task.token,
        result=Payload(data=result),
    )


def failure_of(task: ActivityTask, failure: Failure) -> FailActivity:
    return FailActivity(
        workflow_id=task.workflow_id,
        run_id=task.run_id,
        activity_id=task.activity_id,
        attempt=task.attempt,
        token=task.token,
        failure=failure,
    )


def test_a_task_and_its_outcome_pass_the_log_by() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    commands = len(world.records("commands"))
    world.end(offer)
    world.run(200)

    assert world.events()[-2:] == ["ActivityCompleted", "WorkflowCompleted"]
    assert world.tasks() == []
    assert len(world.records("commands")) == commands
    assert world.intake.is_settled


def test_dispatched_does_not_pass_a_task_until_its_outcome_is_accepted() -> None:
    world = EagerWorld()
    world.begin()
    issued = world.issued()
    (offer,) = world.offers()
    world.run(15_000)
    assert world.shard.outbox.dispatched == issued - 1

    world.end(offer)
    world.host.step()
    # It is decided on, and not accepted yet.
    assert world.shard.journal.in_flight
    assert world.shard.outbox.dispatched == issued - 1
    assert not world.intake.is_settled
    world.run(200)

    assert world.shard.outbox.dispatched > issued
    assert world.intake.is_settled


def test_dispatched_passes_a_task_once_its_start_is_accepted() -> None:
    world = EagerWorld()
    world.begin()
    issued = world.issued()
    (offer,) = world.offers()
    task = offer.task
    world.send(
        ClaimActivity(
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity_id=task.activity_id,
            attempt=task.attempt,
            token=task.token,
            worker_id="w1",
        )
    )
    world.run(200)

    assert world.events()[-1] == "ActivityStarted"
    assert world.shard.outbox.dispatched > issued


def test_a_declined_task_goes_by_the_topic_and_holds_dispatched_back_until_its_ack() -> None:
    world = EagerWorld()
    world.begin()
    issued = world.issued()
    (offer,) = world.offers()
    world.intake.decline(offer)
    world.host.step()
    assert world.shard.outbox.dispatched == issued - 1
    world.run(200)

    (task,) = world.tasks()
    assert task == offer.task
    assert not task.wants_claim
    assert world.shard.outbox.dispatched > issued - 1


def test_a_take_over_sends_again_what_has_no_accepted_outcome() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    world.end(offer)
    # It dies with the outcome in its mailbox.
    world.die()
    world.run(30_000)

    (task,) = world.tasks()
    assert task.token == offer.task.token
    assert task.wants_claim
    assert world.offers() == []


def test_what_was_told_to_an_owner_that_is_no_more_goes_by_the_log() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    attempt = world.end(offer)
    world.host.step()
    # It is decided on, and its partition is let go of before that is accepted.
    world.host._drop(0, world.host.slots.pop(0))

    ((mailbox, posted),) = world.intake.take_lost()
    assert mailbox is offer.mailbox
    assert [(one.attempt, type(one.outcome)) for one in posted] == [(attempt, CompleteActivity)]
    assert mailbox.is_closed
    assert not mailbox.deliver(b"t", outcome_of(offer.task), 1)


def test_nothing_is_lost_with_an_owner_whose_tasks_are_all_done() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    world.end(offer)
    world.run(200)
    world.host._drop(0, world.host.slots.pop(0))

    assert world.intake.take_lost() == []


@pytest.mark.parametrize("end", [CancelWorkflow, TerminateWorkflow])
def test_a_run_that_ends_lets_dispatched_pass(end: type[Record]) -> None:
    world = EagerWorld()
    world.begin()
    issued = world.issued()
    (offer,) = world.offers()
    world.send(end(workflow_id="a", request_id="end"))
    world.run(200)
    world.end(offer)
    world.run(200)

    assert world.shard.outbox.dispatched > issued
    assert world.intake.is_settled


def test_what_must_be_claimed_first_goes_by_the_topic() -> None:
    world = EagerWorld()
    world.begin(1)

    assert world.offers() == []
    assert [task.wants_claim for task in world.tasks()] == [True]


def test_tasks_of_other_queues_go_by_their_topic() -> None:
    world = EagerWorld()
    world.make_topic("tasks", 1, task_queue="other")
    world.begin(0, "other")

    assert world.offers() == []


def test_a_retry_goes_by_the_topic() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    attempt = Attempt(offer.task, taken_ms=0, mailbox=offer.mailbox)
    failure = application_failure("not yet", "Planned")
    assert world.intake.post(attempt, failure_of(offer.task, failure), 100)
    world.run(3_000)

    assert world.offers() == []
    assert [(task.attempt, task.wants_claim) for task in world.tasks()] == [(2, False)]


def test_nothing_is_handed_over_in_doubt() -> None:
    world = EagerWorld()
    world.shard.doubt._left = 5
    world.begin()
    world.run(1_000)

    assert world.offers() == []
    assert len(world.tasks()) == 1


def test_without_a_free_slot_it_is_the_topic() -> None:
    world = EagerWorld()
    world.intake.publish(0)
    world.begin()

    assert world.offers() == []
    assert len(world.tasks()) == 1


def test_an_outcome_that_was_left_in_time_is_not_overtaken_by_its_timeout() -> None:
    world = EagerWorld()
    world.begin(0, "", 5)
    (offer,) = world.offers()
    world.end(offer)
    # The host stands still until long after the timeout.
    world.turn(20_000)
    world.run(2_000)

    assert "ActivityTimedOut" not in world.events()
    assert world.events()[-1] == "WorkflowCompleted"


def test_an_outcome_that_comes_twice_counts_once() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    world.end(offer)
    world.send(outcome_of(offer.task, b'"again"'))
    world.run(500)

    assert world.events().count("ActivityCompleted") == 1


def test_an_outcome_is_kept_until_what_made_it_needless_is_accepted() -> None:
    world = EagerWorld()
    world.begin()
    (offer,) = world.offers()
    world.send(outcome_of(offer.task, b'"first"'))
    world.turn()
    assert world.shard.journal.in_flight
    world.end(offer)
    world.host.step()
    assert not world.intake.is_settled

    world.run(200)

    assert world.events().count("ActivityCompleted") == 1
    assert world.intake.is_settled
