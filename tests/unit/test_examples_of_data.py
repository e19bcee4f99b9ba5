"""The examples of encryption, context and pydantic do what they say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from examples.context import app as context
from examples.encryption import app as encryption
from examples.pydantic_models import app as models
from perdure.client import Client
from tests.unit.test_edges_with_workers import bytes_of

pytestmark = pytest.mark.embedded


async def test_nothing_secret_is_in_the_log_and_both_keys_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Held open, so that nothing is packed yet when it is looked for.
    holder = await Client.connect(f"file:{tmp_path}")
    result = await encryption.main(f"file:{tmp_path}")
    held = bytes_of(tmp_path / "log")
    await holder.close()

    assert result == "filed the finding of Ada L."
    assert "payloads of the keys 2026, 2027" in capsys.readouterr().out
    assert b"Finding" in held
    assert b"Ada L." not in held
    assert b"Grey" not in held


async def test_the_callers_name_reaches_the_activity(tmp_path: Path) -> None:
    assert await context.main(f"file:{tmp_path}") == "Dear Charles,\nAda"


async def test_models_come_out_as_models(tmp_path: Path) -> None:
    assert await models.main(f"file:{tmp_path}") == models.Bill(total=Decimal("25.00"))
