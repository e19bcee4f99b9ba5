"""Where data sets, checkpoints and models are kept: by digest, in whatever fsspec reaches."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from fsspec.core import url_to_fs

STORE_VARIABLE = "TRAINING_STORE"
DEFAULT_STORE = "file://./training-store"
Arrays = dict[str, np.ndarray[Any, Any]]


def store_url() -> str:
    """The store of this machine's workers; all of them must reach the same one."""
    return os.environ.get(STORE_VARIABLE, DEFAULT_STORE)


@dataclass
class Artifact:
    """A thing in the store: what the log holds in its place."""

    digest: str
    """SHA-256 of its bytes, in hexadecimal."""
    size: int
    """How many bytes it has."""


class ArtifactStore:
    """Keeps arrays as .npz files named by what they hold; nothing is ever changed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = url_to_fs(url)

    def put(self, arrays: Arrays) -> Artifact:
        """Keep arrays, whole or not at all. The same arrays are kept once."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        if not self._fs.exists(path):
            self._write(path, data)
        return Artifact(digest, len(data))

    def get(self, artifact: Artifact) -> Arrays:
        """The arrays of an artifact. Raises ValueError when they are not what was kept."""
        data: bytes = self._fs.cat_file(self._path(artifact.digest))
        if hashlib.sha256(data).hexdigest() != artifact.digest:
            raise ValueError(f"artifact {artifact.digest} in {self.url} is damaged")
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}

    def deployed(self) -> Artifact | None:
        """The model that is deployed, None when there is none."""
        path = f"{self._root}/deployed.json"
        if not self._fs.exists(path):
            return None
        return Artifact(**json.loads(self._fs.cat_file(path)))

    def deploy(self, model: Artifact | None) -> None:
        """Deploy a model, or none. Doing it twice is doing it once."""
        path = f"{self._root}/deployed.json"
        if model is None:
            if self._fs.exists(path):
                self._fs.rm_file(path)
            return
        self._write(path, json.dumps({"digest": model.digest, "size": model.size}).encode())

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}.npz"

    def _write(self, path: str, data: bytes) -> None:
        fresh = f"{path}.new-{os.getpid()}"
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(fresh, data)
            self._fs.mv(fresh, path)
        except OSError as error:
            # Half an artifact would only take the room that is missing.
            with contextlib.suppress(OSError):
                self._fs.rm_file(fresh)
            raise OSError(
                error.errno,
                f"the store {self.url} does not take {len(data)} bytes ({error.strerror or error}):"
                " make room there; what it holds is whole, and training goes on from it",
            ) from error
