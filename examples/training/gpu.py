"""The training itself: the one activity of the gpu pool, which goes on from its last checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from examples.training.learning import Learner
from examples.training.store import Artifact, ArtifactStore, store_url
from perdure import activity
from perdure.contrib.storage import FsspecStorageDriver
from perdure.converter import DataConverter, ExternalStorage

GPU_QUEUE = "training-gpu"
TASK_QUEUE = GPU_QUEUE
DATA_CONVERTER = DataConverter(
    external_storage=ExternalStorage([FsspecStorageDriver(f"{store_url()}/payloads")])
)


@dataclass
class TrainInput:
    data: Artifact
    epochs: int
    learning_rate: float
    seed: int
    epoch_pause_s: float = 0.0


@dataclass
class Progress:
    """What a heartbeat says, and the next attempt goes on from."""

    epoch: int
    epochs: int
    accuracy: float
    checkpoint: Artifact


@dataclass
class Trained:
    model: Artifact
    resumed_from: int
    """The epoch that the last attempt went on from; 0 when it began at the beginning."""


@activity.defn
def train(asked: TrainInput) -> Trained:
    """Train by epochs; after each, a checkpoint in the store and its reference in a heartbeat."""
    store = ArtifactStore(store_url())
    data = store.get(asked.data)
    learner = Learner(asked.learning_rate, asked.seed)
    done = _last_progress()
    if done is not None:
        learner.restore(store.get(done.checkpoint))
    first = done.epoch if done is not None else 0
    checkpoint = done.checkpoint if done is not None else None
    for epoch in range(first + 1, asked.epochs + 1):
        learner.train(data, epoch)
        if asked.epoch_pause_s:
            time.sleep(asked.epoch_pause_s)
        accuracy = learner.accuracy(data["x_test"], data["y_test"])
        checkpoint = store.put(learner.state())
        activity.heartbeat(Progress(epoch, asked.epochs, accuracy, checkpoint))
    return Trained(checkpoint or store.put(learner.state()), first)


def _last_progress() -> Progress | None:
    """What the attempt before this one left: heartbeat details come back as plain JSON."""
    details = activity.info().heartbeat_details
    return msgspec.convert(details[0], Progress) if details else None


def activities() -> list[object]:
    """What `perdure worker examples.training.gpu` runs."""
    return [train]
