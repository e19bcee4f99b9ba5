"""The built-in codecs and storage drivers, each by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.api.common.v1 import Payload
from perdure.contrib.codecs import CodecChain
from perdure.contrib.compression import ZstdCodec
from perdure.contrib.encryption import EncryptionCodec, generate_key
from perdure.contrib.storage import FsspecStorageDriver, LocalStorageDriver
from perdure.converter import (
    CodecError,
    DataConverter,
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
)

OLD, NEW = b"1" * 32, b"2" * 32
SECRET = Payload(metadata={"encoding": b"json/plain", "note": b"n"}, data=b'"secret"')


async def test_what_is_encrypted_shows_only_its_keys_id() -> None:
    codec = EncryptionCodec({"2026": OLD})

    (made,) = await codec.encode([SECRET])

    assert b"secret" not in made.data
    assert made.metadata == {
        "encoding": b"binary/encrypted",
        "encryption-cipher": b"AES-GCM",
        "encryption-key-id": b"2026",
    }
    assert await codec.decode([made]) == [SECRET]
    assert (await codec.encode([SECRET]))[0].data != made.data


async def test_a_key_is_changed_without_losing_what_the_old_one_wrote() -> None:
    before = await EncryptionCodec({"old": OLD}).encode([SECRET])
    both = EncryptionCodec({"old": OLD, "new": NEW}, key_id="new")

    after = await both.encode([SECRET])

    assert await both.decode([*before, *after, SECRET]) == [SECRET] * 3
    assert after[0].metadata["encryption-key-id"] == b"new"


async def test_a_missing_key_is_named() -> None:
    (made,) = await EncryptionCodec({"old": OLD}).encode([SECRET])

    with pytest.raises(CodecError, match=r"the key 'old', and this process has 'new'"):
        await EncryptionCodec({"new": NEW}).decode([made])


async def test_another_key_of_the_same_id_and_a_changed_payload_are_found_out() -> None:
    (made,) = await EncryptionCodec({"k": OLD}).encode([SECRET])
    changed = Payload(metadata=made.metadata, data=made.data[:-1] + bytes([made.data[-1] ^ 1]))
    short = Payload(metadata=made.metadata, data=b"x")

    for codec, payload in (
        (EncryptionCodec({"k": NEW}), made),
        (EncryptionCodec({"k": OLD}), changed),
        (EncryptionCodec({"k": OLD}), short),
    ):
        with pytest.raises(CodecError, match="cannot be decrypted with the key 'k'"):
            await codec.decode([payload])


@pytest.mark.parametrize(
    ("keys", "key_id", "message"),
    [
        ({}, None, "no keys"),
        ({"a": OLD, "b": NEW}, None, "say by key_id"),
        ({"a": OLD}, "b", "key_id is 'b', and the keys are a"),
        ({"a": b"short"}, None, "key 'a' has 5 bytes: give 16, 24 or 32"),
        ({"": OLD}, None, "not of 1 to 200 bytes"),
    ],
)
def test_bad_keys_are_refused(keys: dict[str, bytes], key_id: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncryptionCodec(keys, key_id=key_id)


def test_a_generated_key_fits() -> None:
    EncryptionCodec({"k": generate_key()})


async def test_large_payloads_are_compressed_and_small_ones_are_not() -> None:
    codec = ZstdCodec(min_size=100)
    large = Payload(metadata={"encoding": b"json/plain"}, data=b"ab" * 5000)

    made = await codec.encode([SECRET, large])

    assert made[0] is SECRET
    assert made[1].metadata == {"encoding": b"binary/zstd"}
    assert len(made[1].data) < 200
    assert await codec.decode(made) == [SECRET, large]


async def test_what_does_not_become_smaller_is_left_as_it_is() -> None:
    noise = Payload(metadata={"encoding": b"binary/plain"}, data=generate_key() * 1)

    assert await ZstdCodec(min_size=0).encode([noise]) == [noise]


async def test_many_bombs_in_one_record_are_refused_before_the_first_is_opened() -> None:
    zeros = Payload(metadata={"encoding": b"json/plain"}, data=b"0" * 10_000_000)
    (made,) = await ZstdCodec().encode([zeros])

    with pytest.raises(CodecError, match="300 payloads say that they hold 30000"):
        await ZstdCodec().decode([made] * 300)
    assert len(await ZstdCodec().decode([made] * 3)) == 3


async def test_a_bomb_and_damage_are_refused() -> None:
    large = Payload(metadata={"encoding": b"json/plain"}, data=b"0" * 100_000)
    (made,) = await ZstdCodec().encode([large])

    with pytest.raises(CodecError, match=r"holds 1000\d\d bytes; at most 1000 are taken"):
        await ZstdCodec(max_decompressed_size=1000).decode([made])
    for data in (b"", made.data[:-3], b"nonsense"):
        with pytest.raises(CodecError, match=r"damaged|holds"):
            await ZstdCodec().decode([Payload(metadata=made.metadata, data=data)])


@pytest.mark.parametrize("level", [0, 99])
def test_a_level_that_there_is_not_is_refused(level: int) -> None:
    with pytest.raises(ValueError, match="give 1 to 22"):
        ZstdCodec(level=level)


async def test_codecs_are_chained() -> None:
    chain = CodecChain(ZstdCodec(min_size=100), EncryptionCodec({"k": OLD}))
    large = Payload(metadata={"encoding": b"json/plain"}, data=b"ab" * 5000)

    (made,) = await chain.encode([large])

    assert made.metadata["encoding"] == b"binary/encrypted"
    assert len(made.data) < 300
    assert await chain.decode([made]) == [large]


@pytest.fixture(params=["local", "fsspec"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> StorageDriver:
    if request.param == "local":
        return LocalStorageDriver(tmp_path / "claims")
    return FsspecStorageDriver(f"memory://claims-{tmp_path.name}")


def converter_of(driver: StorageDriver, threshold: int = 1000) -> DataConverter:
    storage = ExternalStorage(drivers=[driver], payload_size_threshold=threshold)
    return DataConverter(external_storage=storage)


async def test_large_payloads_are_kept_outside(driver: StorageDriver) -> None:
    converter = converter_of(driver)

    made = await converter.encode(["small", "large" * 1000, "large" * 1000])

    assert made[0].data == b'"small"'
    assert made[1] == made[2]
    assert made[1].metadata["encoding"] == b"json/external-storage-reference"
    assert len(made[1].data) < 200
    assert await converter.decode(made) == ["small", "large" * 1000, "large" * 1000]


async def test_a_missing_object_is_named(driver: StorageDriver, tmp_path: Path) -> None:
    made = await converter_of(driver).encode(["large" * 1000])
    empty: StorageDriver = LocalStorageDriver(tmp_path / "empty")
    if driver.name() == "fsspec":
        empty = FsspecStorageDriver("memory://empty")

    with pytest.raises(CodecError, match=r"missing from .*empty: there is no object sha256-"):
        await converter_of(empty).decode(made)


async def test_a_driver_that_is_not_here_is_named(driver: StorageDriver) -> None:
    made = await converter_of(driver).encode(["large" * 1000])

    with pytest.raises(CodecError, match=rf"driver '{driver.name()}', and this process has none"):
        await DataConverter().decode(made)


def objects(directory: Path) -> list[Path]:
    return sorted(directory.rglob("sha256-*"))


async def test_a_damaged_object_is_found_out(tmp_path: Path) -> None:
    converter = converter_of(LocalStorageDriver(tmp_path))
    made = await converter.encode(["large" * 1000, "other" * 1000])
    first, second = objects(tmp_path)

    first.write_bytes(second.read_bytes())
    with pytest.raises(CodecError, match=r"has the digest .* where .* was written"):
        await converter.decode(made)
    first.write_bytes(b"nonsense")
    with pytest.raises(CodecError, match="damaged"):
        await converter.decode(made)


async def test_a_claim_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    driver = LocalStorageDriver(tmp_path / "claims")

    with pytest.raises(CodecError, match="is no claim of the directory"):
        await driver.retrieve(
            StorageDriverRetrieveContext(), [StorageDriverClaim({"key": "../../secret"})]
        )


async def test_a_selector_chooses_the_driver_or_none(tmp_path: Path) -> None:
    one = LocalStorageDriver(tmp_path / "1", name="one")
    two = LocalStorageDriver(tmp_path / "2", name="two")
    storage = ExternalStorage(
        [one, two],
        driver_selector=lambda _, payload: {b'"1': one, b'"2': two}.get(payload.data[:2]),
        payload_size_threshold=100,
    )
    converter = DataConverter(external_storage=storage)
    values = ["1" * 200, "2" * 200, "3" * 200]

    made = await converter.encode(values)

    assert [b"one" in made[0].data, b"two" in made[1].data] == [True, True]
    assert made[2].data == b'"' + b"3" * 200 + b'"'
    assert await converter.decode(made) == values


def test_a_storage_that_cannot_be_is_refused(tmp_path: Path) -> None:
    driver = LocalStorageDriver(tmp_path)
    with pytest.raises(ValueError, match="no drivers"):
        ExternalStorage([])
    with pytest.raises(ValueError, match="one name: local, local"):
        ExternalStorage([driver, driver])
    with pytest.raises(ValueError, match="say by driver_selector"):
        ExternalStorage([driver, LocalStorageDriver(tmp_path, name="b")])
    with pytest.raises(ValueError, match="give 0 or more bytes"):
        ExternalStorage([driver], payload_size_threshold=-1)
