"""Slots by numbers, by what is in use on the machine, and by suppliers of users."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.client import Client
from perdure.worker import (
    ActivitySlotInfo,
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    ResourceBasedSlotConfig,
    ResourceBasedSlotSupplier,
    ResourceBasedTunerConfig,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    Worker,
    WorkerTuner,
)
from perdure.worker._slot_suppliers import LOOK_AGAIN_MS, RAMP_MS, ResourceSlots
from perdure_actors.worker.machine_load import Load, MachineLoad

A_MINUTE = timedelta(minutes=1)
embedded = pytest.mark.embedded


class World:
    def __init__(self) -> None:
        self.running = 0
        self.most = 0


world = World()


@activity.defn
async def crowd() -> int:
    """Give others the time to run beside it, if they may."""
    world.running += 1
    world.most = max(world.most, world.running)
    for _ in range(20):
        await asyncio.sleep(0)
    world.running -= 1
    return world.most


@workflow.defn
class Crowds:
    @workflow.run
    async def run(self, count: int, is_local: bool) -> int:
        call = workflow.execute_local_activity if is_local else workflow.execute_activity
        calls = [call(crowd, start_to_close_timeout=A_MINUTE) for _ in range(count)]
        return max(await asyncio.gather(*calls))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    global world
    world = World()
    client = await Client.connect(f"file:{tmp_path}/log")
    yield client
    await client.close()


def worker_of(client: Client, tuner: WorkerTuner) -> Worker:
    return Worker(client, task_queue="q", workflows=[Crowds], activities=[crowd], tuner=tuner)


@embedded
@pytest.mark.parametrize("is_local", [False, True])
async def test_a_fixed_tuner_says_how_many_run_at_once(
    client: Client,
    is_local: bool,
) -> None:
    tuner = WorkerTuner.create_fixed(activity_slots=2, local_activity_slots=2)
    async with worker_of(client, tuner):
        most = await client.execute_workflow(Crowds.run, args=[6, is_local], id="w", task_queue="q")

    assert most == 2


@dataclasses.dataclass
class Ticket(SlotPermit):
    number: int


class Tickets(CustomSlotSupplier):
    """So many tickets for all kinds together; notes what it is told."""

    def __init__(self, count: int) -> None:
        self.free = asyncio.Semaphore(count)
        self.taken: dict[int, str] = {}
        self.used: list[tuple[str, str]] = []
        self.released: list[str | None] = []
        self.kinds: set[tuple[str, str]] = set()

    def _ticket(self, ctx: SlotReserveContext) -> Ticket:
        ticket = Ticket(len(self.taken))
        self.taken[ticket.number] = ctx.slot_type
        self.kinds.add((ctx.slot_type, ctx.task_queue))
        assert ctx.worker_identity
        assert not ctx.is_sticky
        return ticket

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        await self.free.acquire()
        return self._ticket(ctx)

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return None

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        assert isinstance(ctx.permit, Ticket)
        assert isinstance(ctx.slot_info, ActivitySlotInfo)
        self.used.append((self.taken[ctx.permit.number], ctx.slot_info.activity_type))

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        info = ctx.slot_info
        self.released.append(info.activity_type if isinstance(info, ActivitySlotInfo) else None)
        self.free.release()


@embedded
async def test_a_suppliers_permits_are_reserved_used_and_released(client: Client) -> None:
    supplier = Tickets(3)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=FixedSizeSlotSupplier(1),
        activity_supplier=supplier,
        local_activity_supplier=supplier,
    )
    async with worker_of(client, tuner):
        remote = await client.execute_workflow(Crowds.run, args=[5, False], id="r", task_queue="q")
        local = await client.execute_workflow(Crowds.run, args=[5, True], id="l", task_queue="q")

    assert 1 <= remote <= 3
    assert 1 <= local <= 3
    assert supplier.used.count(("activity", "crowd")) == 5
    assert supplier.used.count(("local-activity", "crowd")) == 5
    assert supplier.kinds == {("activity", "q"), ("local-activity", "q")}
    # What was reserved ahead was given back unused.
    assert supplier.released.count("crowd") == 10
    assert len(supplier.released) == len(supplier.taken) > 10
    assert not supplier.free.locked()


class Eager(Tickets):
    """Never has one in advance; fails at each call that it may."""

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        if not self.kinds:
            self.kinds.add(("failed", ""))
            raise ValueError("no slots here")
        await asyncio.Event().wait()
        raise AssertionError("it is cancelled when the worker stops")

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return self._ticket(ctx)

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        super().release_slot(ctx)
        raise ValueError("released badly")


@embedded
async def test_a_supplier_that_fails_is_told_of_and_asked_at_once_for_what_is_there(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    supplier = Eager(0)
    fixed = FixedSizeSlotSupplier(1)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=fixed, activity_supplier=supplier, local_activity_supplier=fixed
    )
    with caplog.at_level(logging.ERROR, "perdure.worker"):
        async with worker_of(client, tuner):
            await client.execute_workflow(Crowds.run, args=[3, False], id="w", task_queue="q")

    assert supplier.used == [("activity", "crowd")] * 3
    assert supplier.released == ["crowd"] * 3
    told = " ".join(caplog.messages)
    assert "reserve_slot of a slot supplier failed" in told
    assert "release_slot of a slot supplier failed" in told


@embedded
async def test_slots_by_resources_run_activities_on_this_machine(client: Client) -> None:
    tuner = WorkerTuner.create_resource_based(target_memory_usage=1.0, target_cpu_usage=1.0)
    async with worker_of(client, tuner):
        remote = await client.execute_workflow(Crowds.run, args=[4, False], id="r", task_queue="q")
        local = await client.execute_workflow(Crowds.run, args=[4, True], id="l", task_queue="q")

    assert remote >= 1
    assert local >= 1


@embedded
async def test_a_tuner_and_numbers_are_not_both_taken(client: Client) -> None:
    tuner = WorkerTuner.create_fixed()
    for option in (
        "max_concurrent_activities",
        "max_concurrent_local_activities",
        "max_concurrent_workflow_tasks",
    ):
        more: dict[str, Any] = {option: 3}
        with pytest.raises(ValueError, match="not both"):
            Worker(client, task_queue="q", activities=[crowd], tuner=tuner, **more)
    with pytest.raises(TypeError, match="is no WorkerTuner"):
        Worker(client, task_queue="q", activities=[crowd], tuner=3)  # type: ignore[arg-type]


class Told:
    """A machine whose load is as it is told."""

    def __init__(self) -> None:
        self.load = Load(0.0, 0.0)

    def now(self) -> Load:
        return self.load


def by_resources(machine: Told, least: int, most: int, ramp_ms: int | None) -> ResourceSlots:
    ramp = None if ramp_ms is None else timedelta(milliseconds=ramp_ms)
    config = ResourceBasedSlotConfig(least, most, ramp)
    return ResourceSlots(
        ResourceBasedSlotSupplier(config, ResourceBasedTunerConfig(0.5, 0.8)), machine
    )


def test_slots_by_resources_grow_while_there_is_room_and_time() -> None:
    machine = Told()
    machine.load = Load(0.6, 0.9)
    slots = by_resources(machine, 2, 4, None)

    assert slots.free(1000) == 2
    permits = [slots.take("a", 1000), slots.take("a", 1000)]
    assert None not in permits
    # The least there are whatever is in use; for more, memory and CPU both need room.
    for load in (Load(0.6, 0.1), Load(0.1, 0.8)):
        machine.load = load
        assert slots.take("a", 2000) is None
        assert slots.next_ms(2000) == 2000 + LOOK_AGAIN_MS
    machine.load = Load(0.49, 0.79)
    assert slots.free(2000) == 1
    third = slots.take("a", 2000)
    assert third is not None
    assert slots.take("a", 2000 + RAMP_MS - 1) is None
    assert slots.next_ms(2001) == 2000 + RAMP_MS
    assert slots.take("a", 2000 + RAMP_MS) is not None
    assert (slots.take("a", 9000), slots.free(9000)) == (None, 0)
    slots.release(third)
    assert slots.take("a", 9000) is not None


@pytest.mark.parametrize(("least", "most"), [(5, 4), (-1, 4), (0, 0)])
def test_slots_that_cannot_be_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match="minimum_slots"):
        by_resources(Told(), least, most, 0)


def test_targets_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"target_cpu_usage is 1\.5"):
        WorkerTuner.create_resource_based(target_memory_usage=0.8, target_cpu_usage=1.5)
    with pytest.raises(ValueError, match="num_slots is 0"):
        FixedSizeSlotSupplier(0)


class Machine:
    """A /proc and a /sys/fs/cgroup of files."""

    def __init__(self, path: Path) -> None:
        self.proc, self.cgroups = path / "proc", path / "cgroup"
        self.now_s = 100.0
        self.write("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 400 kB\n", path)
        self.write("proc/self/cgroup", "1:cpu:/old\n0::/box/inner\n", path)
        self.write("cgroup/box/inner/memory.max", "max\n", path)
        self.path = path
        self.stat(user=0, idle=0)

    def write(self, name: str, text: str, path: Path | None = None) -> None:
        place = (path or self.path) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def stat(self, *, user: int, idle: int) -> None:
        self.write("proc/stat", f"cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1\n")

    def load(self) -> MachineLoad:
        return MachineLoad(proc=self.proc, cgroups=self.cgroups, monotonic_s=lambda: self.now_s)


def test_memory_is_that_of_the_tightest_limit(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.load().now().memory == pytest.approx(0.6)

    machine.write("cgroup/box/memory.max", "2000\n")
    machine.write("cgroup/box/memory.current", "1900\n")
    machine.write("cgroup/box/memory.stat", "anon 1\ninactive_file 100\n")
    assert machine.load().now().memory == pytest.approx(0.9)


def test_cpu_is_that_between_samples_of_the_machine_or_its_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    load = machine.load()
    assert load.now().cpu == 0.0

    machine.stat(user=200, idle=200)
    machine.now_s += 0.01
    assert load.now().cpu == 0.0, "too soon for another sample"
    machine.now_s += 0.99
    # Two of four seconds were worked; half of what a sample says counts.
    assert load.now().cpu == pytest.approx(0.25)
    machine.now_s += 1
    assert load.now().cpu == pytest.approx(0.125)

    machine.write("cgroup/box/cpu.max", "50000 100000\n")
    machine.write("cgroup/box/cpu.stat", "usage_usec 1000000\nuser_usec 1\n")
    load = machine.load()
    machine.write("cgroup/box/cpu.stat", "usage_usec 1500000\nuser_usec 1\n")
    machine.now_s += 1
    # Half a core is all that it may use.
    assert load.now().cpu == pytest.approx(0.5)


def test_a_system_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give a fixed number of slots"):
        MachineLoad(proc=tmp_path)


def test_this_machine_can_be_read() -> None:
    load = MachineLoad().now()

    assert 0 < load.memory < 1
    assert 0 <= load.cpu <= 1
