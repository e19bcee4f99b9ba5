"""The machine learning: scikit-learn's own digits, and a linear classifier trained by epochs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

from examples.training.store import Arrays

CLASSES = np.arange(10)


def prepare(seed: int, test_share: float) -> Arrays:
    """The digits, scaled to 0..1, in a training and a test part.

    1,797 images of 8 x 8 pixels from the data set that scikit-learn ships (UCI's optical
    recognition of handwritten digits). Shapes: x_train (n, 64), y_train (n,), x_test (m, 64),
    y_test (m,), with n + m = 1,797 and m = 1,797 x test_share, rounded.
    """
    digits: Any = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x, y = digits.data[order] / 16.0, digits.target[order]
    tests = round(len(y) * test_share)
    return {
        "x_train": x[tests:].astype(np.float32),
        "y_train": y[tests:].astype(np.int64),
        "x_test": x[:tests].astype(np.float32),
        "y_test": y[:tests].astype(np.int64),
    }


class Learner:
    """A classifier with its state as arrays, so that it goes on from a checkpoint exactly."""

    def __init__(self, learning_rate: float, seed: int) -> None:
        self._seed = seed
        self._model: Any = SGDClassifier(
            loss="log_loss", learning_rate="constant", eta0=learning_rate, random_state=seed
        )

    def train(self, data: Arrays, epoch: int) -> None:
        """One pass over the training part, in an order that the epoch's number decides."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(data["y_train"]))
        self._model.partial_fit(data["x_train"][order], data["y_train"][order], classes=CLASSES)

    def accuracy(self, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> float:
        """The share of images that it names rightly."""
        return float((self._model.predict(x) == y).mean())

    def state(self) -> Arrays:
        """Shapes: coef (10, 64), intercept (10,), steps (1,)."""
        return {
            "coef": self._model.coef_,
            "intercept": self._model.intercept_,
            "steps": np.array([self._model.t_]),
        }

    def restore(self, state: Arrays) -> None:
        """Go on from a state."""
        self._model.classes_ = CLASSES
        self._model.coef_ = np.array(state["coef"], order="C")
        self._model.intercept_ = np.array(state["intercept"])
        self._model.t_ = float(state["steps"][0])
