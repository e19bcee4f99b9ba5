"""What an activity worker calls of its user's may raise anything: its attempt fails, it goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from perdure import activity, workflow
from perdure.api.common.v1 import Payload
from perdure.client import Client
from perdure.common import RetryPolicy
from perdure.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)
from perdure.exceptions import ActivityError
from perdure.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotPermit,
    Worker,
    WorkerTuner,
    _slot_suppliers,
)

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(60)]
SOON = timedelta(seconds=30)
ONCE = RetryPolicy(maximum_attempts=1)


class PanicError(BaseException):
    """As the panics of extensions are: no Exception."""


class MuteError(Exception):
    """An error that fails when it is asked what it says."""

    def __str__(self) -> str:
        raise PanicError("in __str__")

    __repr__ = __str__


RAISED: dict[str, Callable[[], BaseException]] = {
    "panic": lambda: PanicError("in a hook"),
    "cancelled": asyncio.CancelledError,
    "exit": lambda: SystemExit(3),
    "generator exit": GeneratorExit,
    "mute": MuteError,
    "value": lambda: ValueError("in a hook"),
}


def burst(how: str) -> None:
    """Raise what a name stands for."""
    error = RAISED[how]()
    raise error


class Contextual(WithSerializationContext):
    """Raises what the id of its activity's workflow says, as it is put into its context."""

    place = ""

    def with_context(self, context: SerializationContext) -> Any:
        place, _, how = (getattr(context, "workflow_id", None) or "").partition(" ")
        is_activity = isinstance(context, ActivitySerializationContext)
        if is_activity and place == self.place and _is_worker():
            burst(how)
        return self


class Converter(Contextual, DefaultPayloadConverter):
    place = "converter"


class Codec(Contextual, PayloadCodec):
    place = "codec"

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        _look_for("encoding", payloads)
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        _look_for("decoding", payloads)
        return list(payloads)


def _look_for(place: str, payloads: Sequence[Payload]) -> None:
    """Raise what a payload asks for, on a worker's thread: hosts have others for codecs."""
    for how in RAISED:
        wanted = f"{place} {how}".encode()
        if _is_worker() and any(wanted in payload.data for payload in payloads):
            burst(how)


def _is_worker() -> bool:
    with workflow.unsafe.sandbox_unrestricted():
        return threading.current_thread() is threading.main_thread()


@activity.defn
async def call(place: str, how: str) -> str:
    if place == "code":
        burst(how)
    return f"encoding {how}" if place == "result" else "done"


@activity.defn
def call_in_a_thread(place: str, how: str) -> str:
    if place == "code":
        burst(how)
    return "done"


@workflow.defn
class Calling:
    @workflow.run
    async def run(self, name: str, place: str, how: str) -> str:
        first = f"decoding {how}" if place == "input" else place
        call = workflow.execute_activity(
            name, args=[first, how], start_to_close_timeout=SOON, retry_policy=ONCE
        )
        try:
            await call
        except ActivityError as error:
            return type(error.cause).__name__
        return "done"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    converter = DataConverter(payload_converter_class=Converter, payload_codec=Codec())
    client = await Client.connect(f"file:{tmp_path}/log", data_converter=converter)
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("code", "call"),
        ("code", "call_in_a_thread"),
        ("converter", "call"),
        ("codec", "call"),
        ("input", "call"),
        ("result", "call"),
    ],
)
async def test_what_a_hook_raises_fails_its_attempt_and_no_other(
    client: Client, place: str, name: str
) -> None:
    with ThreadPoolExecutor(2) as pool:
        async with Worker(
            client,
            task_queue="q",
            workflows=[Calling],
            activities=[call, call_in_a_thread],
            activity_executor=pool,
            max_concurrent_activities=2,
        ):
            outcomes = {
                how: await client.execute_workflow(
                    Calling.run, args=[name, place, how], id=f"{place} {how}", task_queue="q"
                )
                for how in RAISED
            }
            after = await client.execute_workflow(
                Calling.run, args=[name, "nowhere", ""], id="after", task_queue="q"
            )

    assert outcomes == dict.fromkeys(RAISED, "ApplicationError")
    assert after == "done"


class Supplier(CustomSlotSupplier):
    """Raises everything first, one after the other, and then gives slots."""

    def __init__(self) -> None:
        self.hows = list(RAISED)

    async def reserve_slot(self, ctx: Any) -> SlotPermit:
        if self.hows:
            burst(self.hows.pop())
        return SlotPermit()

    def try_reserve_slot(self, ctx: Any) -> SlotPermit | None:
        return None

    def mark_slot_used(self, ctx: Any) -> None:
        raise PanicError("in mark_slot_used")

    def release_slot(self, ctx: Any) -> None:
        raise asyncio.CancelledError


async def test_a_slot_supplier_that_raises_is_asked_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_slot_suppliers, "AFTER_ERROR_S", 0.0)
    supplier = Supplier()
    fixed = FixedSizeSlotSupplier(2)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=fixed, activity_supplier=supplier, local_activity_supplier=fixed
    )
    async with Worker(client, task_queue="q", workflows=[Calling], activities=[call], tuner=tuner):
        for number in range(3):
            done = await client.execute_workflow(
                Calling.run, args=["call", "nowhere", ""], id=f"n-{number}", task_queue="q"
            )
            assert done == "done"
    assert supplier.hows == []
