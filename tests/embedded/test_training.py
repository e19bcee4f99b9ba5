"""The training pipeline with two pools: it goes on from its last checkpoint after a SIGKILL."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from examples.training.app import DATA_CONVERTER, TASK_QUEUE, Recipe, Report, TrainingWorkflow
from examples.training.learning import Learner, prepare
from examples.training.store import STORE_VARIABLE, Artifact, ArtifactStore
from perdure.client import Client, RPCError, WorkflowFailureError, WorkflowHandle
from perdure.exceptions import ApplicationError
from tests.broker.kafka_broker import free_port
from tests.broker.processes import ROOT, Process, until

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]
EPOCHS = 8


class Pools:
    """An engine, a cpu worker and a gpu worker over one store."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(f"file://{folder}/store")
        self.target = f"http://127.0.0.1:{(port := free_port())}"
        journal = folder / "journal"
        data = ["--data", str(folder / "data"), "--port", str(port), "--workflows-only"]
        app, gpu = "examples.training.app", "examples.training.gpu"
        self.engine = Process("engine", ["engine", app, *data], folder, journal=journal)
        cpu_words = ["worker", app, "--engine", self.target, "--activities-only"]
        gpu_words = ["worker", gpu, "--engine", self.target]
        self.cpu = Process("cpu", cpu_words, folder, journal=journal)
        self.gpu = Process("gpu", gpu_words, folder, journal=journal)

    async def client(self) -> Client:
        for _ in range(80):
            try:
                return await Client.connect(self.target, data_converter=DATA_CONVERTER)
            except RPCError:
                await asyncio.sleep(0.25)
        raise AssertionError(f"no engine at {self.target}\n{self.engine.said()}")

    def stop(self) -> None:
        for process in (self.gpu, self.cpu, self.engine):
            process.stop()


@pytest.fixture
def pools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pools]:
    monkeypatch.setenv(STORE_VARIABLE, f"file://{tmp_path}/store")
    made = Pools(tmp_path)
    for process in (made.engine, made.cpu, made.gpu):
        process.start()
    try:
        yield made
    finally:
        made.stop()


def trained_at_once(recipe: Recipe, store: ArtifactStore) -> Artifact:
    """The model that the same recipe gives when nothing is killed."""
    data, learner = (
        prepare(recipe.seed, recipe.test_share),
        Learner(recipe.learning_rate, recipe.seed),
    )
    for epoch in range(1, recipe.epochs + 1):
        learner.train(data, epoch)
    return store.put(learner.state())


async def start(client: Client, recipe: Recipe) -> WorkflowHandle[TrainingWorkflow, Report]:
    return await client.start_workflow(
        TrainingWorkflow.run, recipe, id=recipe.name, task_queue=TASK_QUEUE
    )


async def test_a_killed_training_goes_on_and_a_bad_deployment_is_rolled_back(pools: Pools) -> None:
    client = await pools.client()
    first = Recipe("first", epochs=EPOCHS, epoch_pause_s=0.8, watch=timedelta(milliseconds=50))
    handle = await start(client, first)

    async def has_a_checkpoint() -> bool:
        activities = (await handle.describe()).raw_description.pending_activities
        return any(pending.heartbeat_details for pending in activities)

    await until(has_a_checkpoint, "a checkpoint is in a heartbeat", timeout_s=40.0)
    pools.gpu.kill()
    pools.gpu.start()
    report = await handle.result()

    assert report.deployed
    assert 0 < report.epochs_resumed_from < EPOCHS
    assert report.model == trained_at_once(first, pools.store)
    assert report.tested >= first.accuracy_min
    assert pools.store.deployed() == report.model

    noisy = Recipe(
        "noisy", epochs=2, live_noise=1.0, accuracy_min=0.5, watch=timedelta(milliseconds=50)
    )
    worse = await (await start(client, noisy)).result()

    assert not worse.deployed
    assert worse.model != report.model
    assert worse.tested - worse.live > noisy.drop_max
    assert pools.store.deployed() == report.model

    proud = Recipe("proud", epochs=1, accuracy_min=1.0)
    with pytest.raises(WorkflowFailureError) as failed:
        await (await start(client, proud)).result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "NotGoodEnough"
    assert pools.store.deployed() == report.model
    await client.close()


def test_a_damaged_artifact_is_named(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}")
    kept = store.put(prepare(1, 0.5))
    path = next(tmp_path.glob("*/*.npz"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(ValueError, match=f"artifact {kept.digest} .* is damaged"):
        store.get(kept)


FULL = """
import resource, sys
from examples.training.learning import prepare
from examples.training.store import ArtifactStore

store = ArtifactStore(sys.argv[1])
kept = store.put(prepare(1, 0.5))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # as a disk with so much left
try:
    store.put(prepare(2, 0.5))
except OSError as error:
    print(error)
store.get(kept)
"""


def test_a_full_store_is_named_and_keeps_what_it_holds(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"

    done = subprocess.run(
        [sys.executable, "-c", FULL, url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )

    assert f"the store {url} does not take" in done.stdout
    assert "make room there" in done.stdout
    assert [path.suffix for path in tmp_path.glob("store/*/*")] == [".npz"]
