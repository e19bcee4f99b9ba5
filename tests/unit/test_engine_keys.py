"""The engine's keys: who has none forges no token and completes no activity by its ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from perdure import activity, workflow
from perdure.client import Client, RPCError
from perdure.service import RPCStatusCode
from perdure.worker import Worker
from perdure_actors.core.decision import Decision, Ignored
from perdure_actors.core.state import Run
from perdure_actors.partition.context import PartitionContext
from perdure_schemas import commands as cmd
from perdure_schemas.avro import decode, encode
from perdure_schemas.payloads import Failure, FailureCause, Payload, ReplyTo
from perdure_topics.engine_keys import KEYS_MAX, EngineKeys
from perdure_views.gateway.admission import admit
from tests.fuzz.decoders import HERE, PERSON
from tests.unit.core_world import CoreWorld

OLD, NEW = "11" * 16, "22" * 32
FILE = f"# ours\n2026-02-01T00:00:00Z {NEW}\n\n2026-01-01T00:00:00Z {OLD}\n"
JANUARY_MS, FEBRUARY_MS = 1_767_225_600_000, 1_769_904_000_000
ASKER = ReplyTo(partition=0, correlation_id="c")


@pytest.fixture
def keys() -> EngineKeys:
    return EngineKeys.of_text(FILE, where="here")


def test_a_key_counts_from_its_time_on(keys: EngineKeys) -> None:
    assert keys.at(JANUARY_MS - 1) == b""
    assert keys.at(JANUARY_MS) == bytes.fromhex(OLD)
    assert keys.at(FEBRUARY_MS - 1) == bytes.fromhex(OLD)
    assert keys.at(FEBRUARY_MS) == bytes.fromhex(NEW)


def test_keys_are_never_shown(keys: EngineKeys) -> None:
    assert repr(keys) == "EngineKeys(2)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds 0 keys"),
        (OLD, "line 1: write"),
        (f"yesterday {OLD}", "line 1: write"),
        (f"2026-01-01 {OLD[:-2]}", "line 1: write"),
        (f"2026-01-01 {'11' * 65}", "line 1: write"),
        ("2026-01-01 secret-words", "line 1: write"),
        (f"2026-01-01 {OLD}\n2026-01-01 {NEW}", "two keys of one time"),
        ("\n".join(f"20{n:02}-01-01 {OLD}" for n in range(KEYS_MAX + 1)), "holds 17 keys"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_not_what(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        EngineKeys.of_text(text, where="keys")
    assert "secret-words" not in str(refused.value)
    assert OLD not in str(refused.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(FILE)
    file.chmod(0o644)

    with pytest.raises(ValueError, match="chmod 600"):
        EngineKeys.of_file(file)


class _Issued:
    """Which record issued an attempt."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.pseq, self.place, self.nonce = epoch, 7, 1, b"n" * 16


def test_a_token_is_of_the_key_of_its_epoch_and_of_no_other(keys: EngineKeys) -> None:
    def token(having: EngineKeys, epoch: int) -> bytes:
        context = PartitionContext.__new__(PartitionContext)
        context._engine_keys = having
        return context.token(_Issued(epoch))  # type: ignore[arg-type]

    only_old = EngineKeys(keys.entries[:1])
    assert token(keys, JANUARY_MS) == token(only_old, JANUARY_MS)
    assert token(keys, FEBRUARY_MS) != token(only_old, FEBRUARY_MS)
    assert token(keys, JANUARY_MS) != token(EngineKeys(), JANUARY_MS)
    assert token(keys, JANUARY_MS - 1) == token(EngineKeys(), JANUARY_MS - 1)


# Reports by ids.


@pytest.fixture
def world(keys: EngineKeys) -> Iterator[CoreWorld]:
    made = CoreWorld()
    made.engine_keys = keys
    yield made
    made.check()


@pytest.fixture
def run(world: CoreWorld) -> Run:
    found = world.start()
    world.schedule(found)
    world.do(world.report(cmd.ClaimActivity, found, worker_id="w"))
    return found


def by_ids(run: Run, kind: type = cmd.CompleteActivity, **more: Any) -> Any:
    fields: dict[str, Any] = {"reply": ASKER, "run_id": "", **more}
    workflow_id = run.state.workflow_id
    return kind(workflow_id=workflow_id, activity_id="1", attempt=0, token=b"", **fields)


REPORTS: dict[Any, dict[str, Any]] = {
    cmd.CompleteActivity: {"result": Payload(data=b"1")},
    cmd.FailActivity: {"failure": Failure(chain=[FailureCause(message="no")])},
    cmd.ConfirmActivityCanceled: {"details": [Payload(data=b"1")]},
    cmd.HeartbeatActivity: {"details": [Payload(data=b"1")]},
}


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.__name__)
def test_who_has_no_key_reports_nothing_by_ids(world: CoreWorld, run: Run, kind: type) -> None:
    report = by_ids(run, kind, **REPORTS[kind])

    bare = world.decide(report)
    guessed = world.decide(msgspec.structs.replace(report, token=b"x" * 16))
    quiet = world.decide(msgspec.structs.replace(report, reply=None))

    assert not isinstance(bare, Decision)
    assert "engine key" in str(bare)
    assert not isinstance(guessed, Decision)
    assert isinstance(quiet, Ignored)


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.__name__)
def test_who_has_a_key_does(world: CoreWorld, run: Run, keys: EngineKeys, kind: type) -> None:
    report = by_ids(run, kind, **REPORTS[kind])

    assert isinstance(world.do(keys.sign(report, FEBRUARY_MS)), Decision)


def test_a_signature_of_an_older_key_is_known_and_that_of_a_foreign_one_is_not(
    world: CoreWorld, run: Run, keys: EngineKeys
) -> None:
    foreign = EngineKeys(((0, b"f" * 16),))
    report = by_ids(run)

    assert not isinstance(world.decide(foreign.sign(report, FEBRUARY_MS)), Decision)
    assert isinstance(world.do(keys.sign(report, JANUARY_MS)), Decision)


@pytest.mark.parametrize(
    "other",
    [
        {"result": Payload(data=b"2")},
        {"activity_id": "2"},
        {"run_id": "run-1"},
        {"reply": ReplyTo(partition=0, correlation_id="d")},
    ],
    ids=str,
)
def test_a_signature_is_of_one_report_and_moves_to_no_other(
    world: CoreWorld, run: Run, keys: EngineKeys, other: dict[str, Any]
) -> None:
    signed = keys.sign(by_ids(run, result=Payload(data=b"1")), FEBRUARY_MS)

    assert not isinstance(world.decide(msgspec.structs.replace(signed, **other)), Decision)


def test_the_gateway_signs_for_whom_it_lets_complete(
    world: CoreWorld, run: Run, keys: EngineKeys
) -> None:
    row = ("ns.q.commands", HERE.partition, encode(by_ids(run)), b"", ())

    admitted = admit(PERSON, row, HERE, names=True, keys=keys)

    assert isinstance(world.do(cast(Any, decode(admitted.value))), Decision)


# The whole engine.

QUEUE = "keyed"


@activity.defn
async def approve() -> str:
    activity.raise_complete_async()


@workflow.defn
class Approving:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(approve, start_to_close_timeout=timedelta(minutes=1))


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    file = tmp_path / "keys"
    file.write_text(FILE)
    file.chmod(0o600)
    monkeypatch.setenv("PERDURE_ENGINE_KEYS", str(file))
    client = await Client.connect(f"file:{tmp_path / 'log'}")
    yield client
    await client.close()


async def test_by_ids_is_for_who_has_a_key_and_by_token_for_who_has_that(client: Client) -> None:
    async with Worker(client, task_queue=QUEUE, workflows=[Approving], activities=[approve]):
        handle = await client.start_workflow(Approving.run, id="k-1", task_queue=QUEUE)
        while not [one for one in (await handle.describe()).pending_activities if one.started_ms]:
            pass
        elsewhere = client.get_async_activity_handle(workflow_id="k-1", activity_id="1")
        # As a client that was given no file.
        keys, client.connection.engine_keys = client.connection.engine_keys, EngineKeys()
        with pytest.raises(RPCError, match="engine key") as refused:
            await elsewhere.complete("forged")
        client.connection.engine_keys = keys
        await elsewhere.complete("yes")
        result = await handle.result()

    assert refused.value.status is RPCStatusCode.NOT_FOUND
    assert result == "yes"
