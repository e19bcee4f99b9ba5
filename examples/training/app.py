"""The pipeline as a workflow, and the activities of the cpu pool."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from examples.training.gpu import GPU_QUEUE, TrainInput, train
from examples.training.learning import Learner, prepare
from examples.training.store import Artifact, ArtifactStore, store_url
from perdure import activity, workflow
from perdure.common import RetryPolicy
from perdure.contrib.storage import FsspecStorageDriver
from perdure.converter import DataConverter, ExternalStorage
from perdure.exceptions import ApplicationError

TASK_QUEUE = "training"
DATA_CONVERTER = DataConverter(
    # The log holds references to what is larger than this; the rest is in the store.
    external_storage=ExternalStorage([FsspecStorageDriver(f"{store_url()}/payloads")])
)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=5)


@dataclass
class Recipe:
    """What to train, and when to trust it."""

    name: str
    epochs: int = 12
    learning_rate: float = 0.05
    seed: int = 7
    test_share: float = 0.2
    accuracy_min: float = 0.85
    """Below this on the test part the model is not deployed."""
    drop_max: float = 0.05
    """A live accuracy so far below the tested one rolls the deployment back."""
    watch: timedelta = timedelta(seconds=2)
    """How long after deployment the live accuracy is measured."""
    live_noise: float = 0.0
    """How unlike the training data the live images are: 0 is alike."""
    epoch_pause_s: float = 0.0
    """Makes an epoch last: what a larger model would take."""


@dataclass
class Report:
    """How it went."""

    model: Artifact
    tested: float
    live: float
    deployed: bool
    epochs_resumed_from: int


class PipelineActivities:
    """What runs in the cpu pool."""

    def __init__(self, store: ArtifactStore) -> None:
        self.store = store

    @activity.defn
    def preprocess(self, recipe: Recipe) -> Artifact:
        return self.store.put(prepare(recipe.seed, recipe.test_share))

    @activity.defn
    def evaluate(self, recipe: Recipe, model: Artifact, data: Artifact) -> float:
        learner, arrays = self._learner(recipe, model), self.store.get(data)
        return learner.accuracy(arrays["x_test"], arrays["y_test"])

    @activity.defn
    def deploy(self, model: Artifact) -> None:
        self.store.deploy(model)

    @activity.defn
    def deployed(self) -> Artifact | None:
        return self.store.deployed()

    @activity.defn
    def roll_back(self, to: Artifact | None) -> None:
        self.store.deploy(to)

    @activity.defn
    def measure_live(self, recipe: Recipe, model: Artifact, data: Artifact) -> float:
        """The accuracy on images as they come in: the test part, with the noise of the recipe."""
        import numpy as np

        arrays = self.store.get(data)
        noise = np.random.default_rng(recipe.seed).normal(size=arrays["x_test"].shape)
        seen = arrays["x_test"] + recipe.live_noise * noise
        return self._learner(recipe, model).accuracy(seen, arrays["y_test"])

    def _learner(self, recipe: Recipe, model: Artifact) -> Learner:
        learner = Learner(recipe.learning_rate, recipe.seed)
        learner.restore(self.store.get(model))
        return learner


@workflow.defn
class TrainingWorkflow:
    @workflow.run
    async def run(self, recipe: Recipe) -> Report:
        data = await workflow.execute_activity_method(
            PipelineActivities.preprocess,
            recipe,
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=RETRY,
        )
        trained = await workflow.execute_activity(
            train,
            TrainInput(
                data, recipe.epochs, recipe.learning_rate, recipe.seed, recipe.epoch_pause_s
            ),
            task_queue=GPU_QUEUE,
            start_to_close_timeout=timedelta(hours=6),
            heartbeat_timeout=timedelta(seconds=2),
            retry_policy=RETRY,
        )
        tested = await workflow.execute_activity_method(
            PipelineActivities.evaluate,
            args=[recipe, trained.model, data],
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=RETRY,
        )
        if tested < recipe.accuracy_min:
            raise ApplicationError(
                f"model {trained.model.digest[:12]} names {tested:.1%} rightly;"
                f" {recipe.accuracy_min:.1%} is the least: it was not deployed",
                type="NotGoodEnough",
                non_retryable=True,
            )
        live = await self.deploy(recipe, trained.model, data, tested)
        return Report(
            model=trained.model,
            tested=tested,
            live=live,
            deployed=tested - live <= recipe.drop_max,
            epochs_resumed_from=trained.resumed_from,
        )

    async def deploy(self, recipe: Recipe, model: Artifact, data: Artifact, tested: float) -> float:
        """Deploy, watch, and roll back to what was there when the live accuracy falls."""
        before = await workflow.execute_activity_method(
            PipelineActivities.deployed,
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RETRY,
        )
        await workflow.execute_activity_method(
            PipelineActivities.deploy,
            model,
            start_to_close_timeout=timedelta(minutes=1),
            retry_policy=RETRY,
        )
        await workflow.sleep(recipe.watch)
        live = await workflow.execute_activity_method(
            PipelineActivities.measure_live,
            args=[recipe, model, data],
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=RETRY,
        )
        if tested - live > recipe.drop_max:
            await workflow.execute_activity_method(
                PipelineActivities.roll_back,
                before,
                start_to_close_timeout=timedelta(minutes=1),
                retry_policy=RETRY,
            )
        return live


def activities() -> list[PipelineActivities]:
    """What `perdure worker examples.training.app` runs."""
    return [PipelineActivities(ArtifactStore(store_url()))]
