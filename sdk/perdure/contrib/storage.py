"""Storage drivers for large payloads: a directory, or whatever fsspec reaches.

Objects are named by what they hold, so one that is stored twice is there once, and none is ever
changed. Nothing deletes them: the log may point to them for as long as it is kept.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from perdure.api.common.v1 import Payload
from perdure.converter import (
    CodecError,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)
from perdure.converter._external_storage import digest_of, payload_bytes, payload_from_bytes

__all__ = ["FsspecStorageDriver", "LocalStorageDriver"]

KEY: Final = "key"
_KEY_FORM: Final = re.compile(r"sha256-[0-9a-f]{64}")


class _ContentStore(StorageDriver):
    """What the drivers here share: objects by digest, written and read off the event loop."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        """Its name in references."""
        return self._name

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        """Keep payloads under the digests of what they hold."""
        return await asyncio.to_thread(self._store, payloads)

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """The payloads of claims. Raises CodecError for one that is not there."""
        return await asyncio.to_thread(self._retrieve, claims)

    def _store(self, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        claims = []
        for payload in payloads:
            data = payload_bytes(payload)
            key = digest_of(data)
            self._write(key, data)
            claims.append(StorageDriverClaim({KEY: key}))
        return claims

    def _retrieve(self, claims: Sequence[StorageDriverClaim]) -> list[Payload]:
        found = []
        for claim in claims:
            key = claim.claim_data.get(KEY, "")
            # Claims come from the log: none may lead out of the store.
            if not _KEY_FORM.fullmatch(key):
                raise CodecError(f"{dict(claim.claim_data)} is no claim of {self._where()}")
            try:
                data = self._read(key)
            except FileNotFoundError as error:
                raise CodecError(
                    f"a payload is missing from {self._where()}: there is no object {key}. Give"
                    " this process the storage that it was written to, or restore the object"
                ) from error
            try:
                found.append(payload_from_bytes(data))
            except ValueError as error:
                raise CodecError(
                    f"the object {key} in {self._where()} is damaged: {error}"
                ) from error
        return found

    @abstractmethod
    def _where(self) -> str:
        """The store in words."""

    @abstractmethod
    def _write(self, key: str, data: bytes) -> None:
        """Keep an object, whole or not at all."""

    @abstractmethod
    def _read(self, key: str) -> bytes:
        """An object. Raises FileNotFoundError when there is none."""


class LocalStorageDriver(_ContentStore):
    """Keeps payloads as files of a directory that all processes share."""

    def __init__(self, directory: str | Path, *, name: str = "local") -> None:
        super().__init__(name)
        self._directory = Path(directory).expanduser().absolute()

    def _where(self) -> str:
        return f"the directory {self._directory}"

    def _path(self, key: str) -> Path:
        return self._directory / key[7:9] / key

    def _write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _read(self, key: str) -> bytes:
        return self._path(key).read_bytes()


class FsspecStorageDriver(_ContentStore):
    """Keeps payloads in what fsspec reaches: s3://bucket/prefix, gs://, abfs://, memory://.

    Needs the extra `storage`, and fsspec's own package for the kind of store.

    Args:
        url: The store and the prefix in it.
        name: Its name in references; it must stay what it is.
        options: What fsspec's file system is made with, such as credentials.
    """

    def __init__(self, url: str, *, name: str = "fsspec", **options: Any) -> None:
        super().__init__(name)
        from fsspec.core import url_to_fs

        self._url = url
        self._fs, self._root = url_to_fs(url, **options)

    def _where(self) -> str:
        return f"the storage {self._url}"

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key[7:9]}/{key}"

    def _write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        if self._fs.exists(path):
            return
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(path, data)

    def _read(self, key: str) -> bytes:
        data: bytes = self._fs.cat_file(self._path(key))
        return data
