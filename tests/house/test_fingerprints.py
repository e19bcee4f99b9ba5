"""The kept fingerprints are those of the schemas: records are framed by them without a look."""

from __future__ import annotations

from perdure_schemas.fingerprints import computed, kept


def test_the_kept_fingerprints_are_those_of_the_schemas() -> None:
    found = {name: (one.fingerprint.hex(), one.checksum) for name, one in kept().items()}

    assert found == computed(), "run make records"
