"""Records that any release wrote are read by today's code, for ever."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from perdure_schemas import avro
from perdure_schemas.version import VERSION
from tests.histories.golden_records import CORPUS, full

FILES = sorted(CORPUS.glob("*/*.bin"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_record_of_a_release_is_read_as_what_it_was(file: Path) -> None:
    record = avro.decode(file.read_bytes())

    assert type(record).__name__ == file.stem
    held = msgspec.json.decode(file.with_suffix(".json").read_bytes(), type=type(record))
    assert record == held


def test_the_first_release_left_a_record_of_each_kind() -> None:
    found = {file.stem for file in FILES if file.parent.name == "0.1.0"}

    assert found >= {"StartWorkflow", "Transition", "TransitionBody", "EpochBump", "ActivityTask"}
    assert found == {
        file.stem for file in (Path(avro.__file__).parent / "avsc/released/0.1.0").glob("*.avsc")
    }


def test_todays_corpus_is_there_and_is_what_todays_code_writes() -> None:
    for cls in avro.framed_records():
        file = CORPUS / VERSION / f"{cls.__name__}.bin"
        assert file.exists(), f"no {file}: run make records"
        assert file.read_bytes() == avro.encode(full(cls)), (
            f"{cls.__name__} differs from {VERSION}'s: raise the version or, while that is not"
            " out, run make records"
        )
