"""External storage of large payloads: drivers, references, store and retrieve."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from perdure.api.common.v1 import Payload
from perdure_actors.definitions.payload_codecs import CodecError
from perdure_schemas.contexts import (
    ActivitySerializationContext,
    SerializationContext,
    WorkflowSerializationContext,
)

REFERENCE_ENCODING: Final = "json/external-storage-reference"
DIGEST_KEY: Final = "digest"
SIZE_KEY: Final = "size"
THRESHOLD_DEFAULT: Final = 256 * 1024


class StorageWarning(RuntimeWarning):
    """Something about external storage that works and should not stay so."""


@dataclass(frozen=True)
class StorageDriverClaim:
    """What a driver needs to find a payload again."""

    claim_data: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StorageDriverActivityInfo:
    """The activity that a payload belongs to."""

    namespace: str
    id: str | None = None
    run_id: str | None = None
    type: str | None = None


@dataclass(frozen=True, kw_only=True)
class StorageDriverWorkflowInfo:
    """The workflow that a payload belongs to."""

    namespace: str
    id: str | None = None
    run_id: str | None = None
    type: str | None = None


Target = StorageDriverActivityInfo | StorageDriverWorkflowInfo | None
"""Whose payloads are stored, where that is known."""


def target_of(context: SerializationContext) -> Target:
    """Whom a context is about, as a storage driver is told."""
    if isinstance(context, ActivitySerializationContext):
        return StorageDriverActivityInfo(
            namespace=context.namespace, id=context.activity_id, type=context.activity_type
        )
    if isinstance(context, WorkflowSerializationContext):
        return StorageDriverWorkflowInfo(namespace=context.namespace, id=context.workflow_id)
    return None


@dataclass(frozen=True)
class StorageDriverStoreContext:
    """What a driver is told when it stores."""

    target: StorageDriverActivityInfo | StorageDriverWorkflowInfo | None = None


@dataclass(frozen=True)
class StorageDriverRetrieveContext:
    """What a driver is told when it retrieves."""


@dataclass(frozen=True)
class StorageDriverSelectContext:
    """What a selector is told beside the payload."""

    target: StorageDriverActivityInfo | StorageDriverWorkflowInfo | None = None


class StorageDriver(ABC):
    """Keeps payloads somewhere and gives them back."""

    @abstractmethod
    def name(self) -> str:
        """Its name: it stands in references, so it must stay what it is."""

    def type(self) -> str:
        """What kind of driver it is."""
        return type(self).__name__

    @abstractmethod
    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        """Keep payloads; a claim for each. The same payload may be stored many times."""

    @abstractmethod
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """The payloads of claims. Raises an error that names what is missing."""


DriverSelector = Callable[[StorageDriverSelectContext, Payload], StorageDriver | None]


@dataclass(frozen=True)
class ExternalStorage:
    """Which payloads are kept outside the log, and by which drivers."""

    drivers: Sequence[StorageDriver]
    driver_selector: DriverSelector | None = None
    """Which driver takes a payload, None for none; needed where there are several."""
    payload_size_threshold: int = THRESHOLD_DEFAULT
    """Payloads of more bytes than this are kept outside."""

    def __post_init__(self) -> None:
        names = [driver.name() for driver in self.drivers]
        if not names:
            raise ValueError("ExternalStorage has no drivers: give at least one")
        if len(set(names)) != len(names):
            raise ValueError(f"two storage drivers have one name: {', '.join(names)}")
        if len(names) > 1 and self.driver_selector is None:
            raise ValueError(
                f"there are several storage drivers ({', '.join(names)}): say by driver_selector"
                " which one takes a payload"
            )
        if self.payload_size_threshold < 0:
            raise ValueError(
                f"payload_size_threshold is {self.payload_size_threshold}: give 0 or more bytes"
            )


class _Reference(msgspec.Struct, frozen=True):
    """What stands in the log in place of a payload."""

    driver: str
    claim: dict[str, str]


def payload_bytes(payload: Payload) -> bytes:
    """A payload as bytes, always the same for the same payload."""
    return msgspec.msgpack.encode((sorted(payload.metadata.items()), payload.data))


def payload_from_bytes(data: bytes) -> Payload:
    """The payload of such bytes. Raises ValueError when they are none."""
    metadata, body = msgspec.msgpack.decode(data, type=tuple[list[tuple[str, bytes]], bytes])
    return Payload(metadata=dict(metadata), data=body)


def digest_of(data: bytes) -> str:
    """The name of bytes by their content."""
    return f"sha256-{hashlib.sha256(data).hexdigest()}"


def is_reference(payload: Payload) -> bool:
    """Whether a payload stands for one that is kept elsewhere."""
    return payload.metadata.get("encoding") == REFERENCE_ENCODING.encode()


async def store_large(
    payloads: Sequence[Payload], storage: ExternalStorage, *, target: Target = None
) -> list[Payload]:
    """The payloads, with references in the places of the large ones."""
    by_driver: dict[int, list[int]] = {}
    drivers = {id(driver): driver for driver in storage.drivers}
    for index, payload in enumerate(payloads):
        if len(payload.data) > storage.payload_size_threshold:
            driver = _chosen(storage, payload, target)
            if driver is not None:
                by_driver.setdefault(id(driver), []).append(index)
    kept = list(payloads)
    for key, places in by_driver.items():
        driver = drivers[key]
        claims = await driver.store(
            StorageDriverStoreContext(target), [payloads[index] for index in places]
        )
        if len(claims) != len(places):
            raise CodecError(
                f"storage driver {driver.name()!r} gave {len(claims)} claims for {len(places)}"
                " payloads"
            )
        for index, claim in zip(places, claims, strict=True):
            kept[index] = _reference(driver, claim, payloads[index])
    return kept


def _chosen(storage: ExternalStorage, payload: Payload, target: Target) -> StorageDriver | None:
    if storage.driver_selector is None:
        return storage.drivers[0]
    driver = storage.driver_selector(StorageDriverSelectContext(target), payload)
    if driver is not None and not any(driver is known for known in storage.drivers):
        raise CodecError(
            f"driver_selector chose the storage driver {driver.name()!r}, which is not among"
            " ExternalStorage.drivers"
        )
    return driver


def _reference(driver: StorageDriver, claim: StorageDriverClaim, payload: Payload) -> Payload:
    return Payload(
        metadata={
            "encoding": REFERENCE_ENCODING.encode(),
            DIGEST_KEY: digest_of(payload_bytes(payload)).encode(),
            SIZE_KEY: str(len(payload.data)).encode(),
        },
        data=msgspec.json.encode(_Reference(driver.name(), dict(claim.claim_data))),
    )


async def retrieve_large(
    payloads: Sequence[Payload], storage: ExternalStorage | None
) -> list[Payload]:
    """The payloads, those that are kept outside in the places of their references.

    Raises CodecError for one that is missing, damaged, or of a driver that is not here.
    """
    by_driver: dict[str, list[tuple[int, StorageDriverClaim]]] = {}
    for index, payload in enumerate(payloads):
        if is_reference(payload):
            try:
                reference = msgspec.json.decode(payload.data, type=_Reference)
            except msgspec.DecodeError as error:
                raise CodecError(
                    f"a reference to external storage cannot be read: {error}"
                ) from error
            claim = StorageDriverClaim(reference.claim)
            by_driver.setdefault(reference.driver, []).append((index, claim))
    found = list(payloads)
    for name, places in by_driver.items():
        driver = _driver(storage, name)
        claims = [claim for _, claim in places]
        retrieved = await driver.retrieve(StorageDriverRetrieveContext(), claims)
        if len(retrieved) != len(claims):
            raise CodecError(
                f"storage driver {name!r} gave {len(retrieved)} payloads for {len(claims)} claims"
            )
        for (index, claim), payload in zip(places, retrieved, strict=True):
            _check(payloads[index], payload, claim, name)
            found[index] = payload
    return found


def _driver(storage: ExternalStorage | None, name: str) -> StorageDriver:
    for driver in storage.drivers if storage is not None else ():
        if driver.name() == name:
            return driver
    known = ", ".join(driver.name() for driver in storage.drivers) if storage else "none"
    raise CodecError(
        f"a payload is kept by the storage driver {name!r}, and this process has {known}: give it"
        " to DataConverter(external_storage=...)"
    )


def _check(reference: Payload, payload: Payload, claim: StorageDriverClaim, name: str) -> None:
    wanted = reference.metadata.get(DIGEST_KEY, b"").decode()
    held = digest_of(payload_bytes(payload))
    if held != wanted:
        raise CodecError(
            f"what storage driver {name!r} gave for {dict(claim.claim_data)} has the digest {held}"
            f" where {wanted} was written: the object is damaged or was replaced"
        )
