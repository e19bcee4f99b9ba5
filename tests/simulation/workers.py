"""A worker of the world: the worker protocol, step by step, with a journal of its effects.

It takes tasks with the real bookkeeping of offsets; what it runs is a script, and it may die at
any point of it, report twice, or report late.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import msgspec

from perdure_actors.worker.attempt import claim_id
from perdure_actors.worker.task_reader import TaskIntake
from perdure_schemas import commands as cmd
from perdure_schemas.avro import decode_as, encode
from perdure_schemas.payloads import Failure, FailureCause, Payload, Record, ReplyTo
from perdure_schemas.replies import Reply, WorkerOrders
from perdure_schemas.tasks import ActivityTask
from perdure_topics.names import group_name, topic_name
from perdure_topics.ports import LogError, PositionLostError, StoredRecord
from tests.simulation.attempts import Attempt
from tests.simulation.evidence import Effect

if TYPE_CHECKING:
    from perdure_topics.ports import Appender
    from perdure_topics.simulated.simulated_log import SimulatedLog
    from tests.simulation.world import World

LEASE_MS = 6_000
CLAIM_AGAIN_MS = 5_000
PROMOTE_MS = 1_000
SLOTS = 8
STEP_MS = 200
TASKS_A_TURN = 16


class SimWorker:
    """One incarnation of a worker process."""

    def __init__(self, world: World, log: SimulatedLog, worker_id: str, rng: Random) -> None:
        self.world = world
        self.log = log
        self.worker_id = worker_id
        self._rng = rng
        self._late = world.settings.strength("worker_late")
        self._double = world.settings.strength("worker_double")
        self._hands_back = world.settings.strength("handed_back")
        namespace, queue = world.namespace, world.task_queue
        group = group_name("workers", namespace, queue)
        self._reader = log.group_reader(
            group, topic_name("tasks", namespace, queue), on_ready=self.ring
        )
        self._intake = TaskIntake(self._reader)
        self._replies = topic_name("replies", namespace)
        self._tail = log.tail(on_ready=self.ring, committed=True)
        self._reply_partition = rng.randrange(world.reply_partitions)
        _, end = log.offsets(self._replies, self._reply_partition)
        self._tail.assign(self._replies, self._reply_partition, end)
        self._appender: Appender | None = None
        self._unacked: dict[int, tuple[str, int, bytes, bytes | None, Callable[[], None]]] = {}
        self._serial = 0
        self._attempts: dict[bytes, Attempt] = {}
        self._leased_ms = -(10**9)
        self._stands_until_ms = 0
        self._is_stopping = False
        self._scheduled_ms = -1
        self.dead = False
        self.ring()

    # -- turns --

    def ring(self) -> None:
        """There is news: step soon."""
        self._schedule(1)

    def _schedule(self, delay_ms: int) -> None:
        at_ms = self.world.broker.now_ms + delay_ms
        if self._scheduled_ms >= 0 and self._scheduled_ms <= at_ms:
            return
        self._scheduled_ms = at_ms
        self.world.broker.at(delay_ms, partial(self._turn, at_ms))

    def _turn(self, at_ms: int) -> None:
        if self.dead or self._scheduled_ms != at_ms:
            return
        self._scheduled_ms = -1
        if self.log.node.paused:
            self._schedule(100)
            return
        self.world.steps += 1
        try:
            self.step()
        except (LogError, PositionLostError):
            self._restart_appender()
        if not self.dead:
            self._schedule(self._wait_ms())

    def _wait_ms(self) -> int:
        now_ms = self.world.broker.now_ms
        due = [
            min(at for at in (a.effect_ms, a.ends_ms) if at > now_ms)
            for a in self._attempts.values()
            if a.phase == "running" and a.ends_ms > now_ms
        ]
        return max(1, min([STEP_MS, *(at - now_ms for at in due)]))

    def step(self) -> None:
        """One turn."""
        now_ms = self.world.broker.now_ms
        self._take_reports()
        if self._is_stopping:
            return
        if now_ms < self._stands_until_ms:
            self._beside_the_loop(now_ms)
            return
        self._take_orders()
        gone = self._intake.departures(now_ms)
        if gone.lost or gone.revoked:
            self._forget_unclaimed({*gone.lost, *gone.revoked})
        for record in self._intake.take(TASKS_A_TURN):
            self._take_task(record)
        for attempt in list(self._attempts.values()):
            self._drive(attempt, now_ms)
            if self.dead:
                return
        self._lease(now_ms)
        self._intake.settle(now_ms)
        self._intake.commit()

    def _lease(self, now_ms: int) -> None:
        if now_ms - self._leased_ms >= LEASE_MS // 3:
            self._leased_ms = now_ms
            self._send_lease(stopping=False)

    def stand_still(self, for_ms: int) -> None:
        """One attempt blocks the event loop: no code goes on, and the worker is alive."""
        self._stands_until_ms = self.world.broker.now_ms + for_ms

    def _beside_the_loop(self, now_ms: int) -> None:
        """What a thread does while the loop stands still: leases, claims, signs of life."""
        self._lease(now_ms)
        for attempt in list(self._attempts.values()):
            if attempt.phase == "running":
                self._speak_for(attempt, now_ms)
        self._intake.settle(now_ms)
        self._intake.commit()

    def stop(self) -> None:
        """Stop as a deploy does: what has not begun is handed back, what has begun has failed."""
        self._is_stopping = True
        for attempt in list(self._attempts.values()):
            if attempt.phase in ("new", "claiming"):
                self._hand_back(attempt, "worker_shutdown")
            elif attempt.phase == "running":
                self._cut_short(attempt)
        self._send_lease(stopping=True)

    def _cut_short(self, attempt: Attempt) -> None:
        attempt.phase = "ended"
        cause = FailureCause(message="its worker was stopped", type="WorkerShutdown")
        failure = Failure(chain=[cause])
        self._report(attempt, cmd.FailActivity, partial(self._settled, attempt), failure=failure)

    def _forget_unclaimed(self, partitions: set[int]) -> None:
        """Tasks of partitions that went, and that nothing was said of, are the next owner's."""
        for token, attempt in list(self._attempts.items()):
            if attempt.place[0] in partitions and attempt.phase in ("new", "claiming"):
                del self._attempts[token]

    # -- tasks --

    def _take_task(self, record: StoredRecord) -> None:
        task = decode_as(ActivityTask, record.value)
        place = (record.partition, record.offset)
        known = self._attempts.get(task.token)
        if known is not None:
            known.place = place
            if known.settled:
                self._intake.done(*place)
            return
        attempt = self._attempts[task.token] = Attempt(task, place)
        attempt.since_ms = self.world.broker.now_ms
        if task.wants_claim or self._intake.may_be_redelivery(record):
            attempt.phase = "claiming"
        elif self._rng.random() >= 0.2 * self._hands_back and self._has_slot():
            self._start(attempt)

    def _has_slot(self) -> bool:
        return sum(attempt.phase == "running" for attempt in self._attempts.values()) < SLOTS

    def _start(self, attempt: Attempt) -> None:
        now_ms = self.world.broker.now_ms
        attempt.phase = "running"
        attempt.since_ms = attempt.beat_ms = now_ms
        attempt.effect_ms = now_ms + self._rng.randrange(0, attempt.run_ms + 1)
        attempt.ends_ms = now_ms + attempt.run_ms
        if self._rng.random() < 0.04 * self.world.strength("worker_crash"):
            attempt.dies = self._rng.choice(("before", "during", "after"))

    def _drive(self, attempt: Attempt, now_ms: int) -> None:
        """What is due of one attempt."""
        if attempt.phase == "new":
            if self._rng.random() < 0.2 * self._hands_back:
                self._hand_back(attempt)
            elif self._has_slot():
                self._start(attempt)
            elif now_ms - attempt.since_ms >= PROMOTE_MS:
                self._hand_back(attempt)
        elif attempt.phase == "claiming":
            if now_ms - attempt.claimed_ms >= CLAIM_AGAIN_MS:
                attempt.claimed_ms = now_ms
                self._claim(attempt, wants_grant=True)
        elif attempt.phase == "running":
            self._run(attempt, now_ms)

    def _run(self, attempt: Attempt, now_ms: int) -> None:
        if attempt.effect_ms and now_ms >= attempt.effect_ms:
            if attempt.dies == "before":
                self.world.crash_worker(self)
                return
            attempt.effect_ms = 0
            self._effect(attempt)
            if attempt.dies == "during":
                self.world.crash_worker(self)
                return
        if now_ms >= attempt.ends_ms:
            if attempt.dies == "after":
                self.world.crash_worker(self)
                return
            self._end(attempt)
            return
        self._speak_for(attempt, now_ms)

    def _speak_for(self, attempt: Attempt, now_ms: int) -> None:
        """Say that an attempt runs, and lives."""
        task = attempt.task
        if not attempt.promoted and (task.heartbeat_ms or now_ms - attempt.since_ms >= PROMOTE_MS):
            attempt.promoted = True
            self._claim(attempt, wants_grant=False)
        if task.heartbeat_ms and now_ms - attempt.beat_ms >= task.heartbeat_ms // 3:
            attempt.beat_ms = now_ms
            details = [Payload(data=b"1")] if self._rng.random() < 0.3 else []
            self._report(attempt, cmd.HeartbeatActivity, details=details)

    def _effect(self, attempt: Attempt) -> None:
        task = attempt.task
        data = None if attempt.fails_now else msgspec.json.encode(attempt.result)
        self.world.effects.append(
            Effect(
                self.world.wall_ms(),
                task.token,
                self.worker_id,
                task.run_id,
                task.activity_id,
                task.attempt,
                data,
            )
        )

    def _end(self, attempt: Attempt) -> None:
        """Report how it went: perhaps twice, perhaps late."""
        attempt.phase = "ended"
        settled = partial(self._settled, attempt)
        if attempt.fails_now:
            cause = FailureCause(message="planned", type="Planned")
            report = partial(
                self._report, attempt, cmd.FailActivity, settled, failure=Failure(chain=[cause])
            )
        else:
            result = Payload(data=msgspec.json.encode(attempt.result))
            report = partial(self._report, attempt, cmd.CompleteActivity, settled, result=result)
        at = self.world.broker.at
        if self._rng.random() < 0.2 * self._late:
            self.world.count("late report")
            at(self._rng.randrange(1, 30_000), partial(self._if_alive, report))
        else:
            report()
        if self._rng.random() < 0.3 * self._double:
            self.world.count("doubled report")
            for _ in range(self._rng.randrange(1, 4)):
                at(self._rng.randrange(1, 20_000), partial(self._if_alive, report))

    def _if_alive(self, action: Callable[[], None]) -> None:
        if not self.dead:
            action()
            self.ring()

    def _settled(self, attempt: Attempt) -> None:
        attempt.settled = True
        self._intake.done(*attempt.place)

    def _hand_back(self, attempt: Attempt, reason: str = "no_slot") -> None:
        attempt.phase = "ended"
        # The same task may come again, to be claimed.
        del self._attempts[attempt.task.token]
        self.world.count("handed back")
        settled = partial(self._settled, attempt)
        self._report(attempt, cmd.HandBackActivity, settled, reason=reason)

    # -- reports --

    def _claim(self, attempt: Attempt, *, wants_grant: bool) -> None:
        reply = ReplyTo(
            partition=self._reply_partition,
            correlation_id=claim_id(self.worker_id, attempt.task.token),
        )
        acked = partial(self._settled, attempt)
        self._report(attempt, cmd.ClaimActivity, acked, reply=reply, wants_grant=wants_grant)

    def _report(
        self,
        attempt: Attempt,
        kind: Callable[..., Record],
        acked: Callable[[], None] | None = None,
        **fields: object,
    ) -> None:
        task = attempt.task
        report = kind(
            workflow_id=task.workflow_id,
            run_id=task.run_id,
            activity_id=task.activity_id,
            attempt=task.attempt,
            token=task.token,
            worker_id=self.worker_id,
            **fields,
        )
        key = task.workflow_id.encode()
        self._send(task.commands_topic, task.partition, report, key, acked or _nothing)

    def _send_lease(self, *, stopping: bool) -> None:
        world = self.world
        topic = topic_name("commands", world.namespace, world.task_queue)
        lease = cmd.WorkerLease(
            worker_id=self.worker_id,
            task_queue=world.task_queue,
            reply_partition=self._reply_partition,
            lease_ms=LEASE_MS,
            stopping=stopping,
        )
        for partition in range(world.settings.partitions):
            self._send(topic, partition, lease, self.worker_id.encode(), _nothing)

    def _send(
        self, topic: str, partition: int, report: Record, key: bytes, acked: Callable[[], None]
    ) -> None:
        self._serial += 1
        self._unacked[self._serial] = (topic, partition, encode(report), key, acked)
        if self._appender is None:
            self._appender = self.log.appender(on_ready=self.ring)
        value = self._unacked[self._serial][2]
        self._appender.append(topic, partition, value, key=key, tag=self._serial)

    def _take_reports(self) -> None:
        if self._appender is None:
            return
        for report in self._appender.reports():
            if report.error is not None or report.offset is None:
                self._restart_appender()
                return
            assert isinstance(report.tag, int)
            found = self._unacked.pop(report.tag, None)
            if found is not None:
                found[4]()

    def _restart_appender(self) -> None:
        """After an error everything without an acknowledgement goes again."""
        if self._appender is not None:
            self._appender.close()
        self._appender = self.log.appender(on_ready=self.ring)
        for serial, (topic, partition, value, key, _) in list(self._unacked.items()):
            self._appender.append(topic, partition, value, key=key, tag=serial)

    # -- orders --

    def _take_orders(self) -> None:
        for record in self._tail.take(self._replies, self._reply_partition, 500):
            reply = decode_as(Reply, record.value)
            if reply.correlation_id == self.worker_id:
                self._take_order(decode_as(WorkerOrders, reply.body), None)
            elif reply.correlation_id.startswith(f"{self.worker_id}/"):
                orders = decode_as(WorkerOrders, reply.body)
                self._take_order(orders, self._attempts.get(orders.token))

    def _take_order(self, orders: WorkerOrders, attempt: Attempt | None) -> None:
        if attempt is not None and orders.token == attempt.task.token:
            if attempt.phase == "claiming":
                if orders.granted:
                    self._start(attempt)
                    attempt.promoted = True
                else:
                    attempt.phase = "ended"
                    self._settled(attempt)
            elif attempt.phase == "running" and not orders.granted:
                attempt.phase = "ended"
                self._settled(attempt)
        for canceled in orders.canceled:
            stopped = self._attempts.get(canceled.token)
            if stopped is None or stopped.phase != "running":
                continue
            if canceled.reason not in ("cancel_requested", "paused", "reset"):
                stopped.phase = "ended"
                self._settled(stopped)
            elif self._rng.random() < 0.8:
                stopped.phase = "ended"
                if canceled.reason == "cancel_requested":
                    self._stopped(stopped)
                else:
                    # Its code takes its time to stop.
                    stop = partial(self._if_alive, partial(self._stopped, stopped))
                    self.world.broker.at(self._rng.randrange(4_000), stop)

    def _stopped(self, attempt: Attempt) -> None:
        settled = partial(self._settled, attempt)
        self._report(attempt, cmd.ConfirmActivityCanceled, settled)

    def kill(self) -> None:
        """End as SIGKILL does."""
        self.dead = True
        self.log.broker.crash(self.log.node)
        self._tail.close()
        self._reader._tail.close()


def _nothing() -> None:
    """Nobody waits for this acknowledgement."""


def fresh_id(name: str, number: int) -> str:
    """A worker id: another one for each incarnation."""
    return f"{name}-{number}-{hashlib.blake2b(name.encode(), digest_size=3).hexdigest()}"
