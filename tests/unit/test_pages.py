"""The pages made from tables show today's tables, and the recipe writes what a host reads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from perdure_schemas import avro
from perdure_schemas.commands import StartWorkflow
from perdure_schemas.converters import DefaultPayloadConverter
from perdure_topics.names import topic_name
from tests import local_twins
from tests.pages import DOCS, PAGES

RECIPE = DOCS / "recipes" / "start-from-any-producer.md"
AVSC = Path(avro.__file__).parent / "avsc"
# Run before the recipe: whatever of ours is asked for, the recipe is no stranger's.
WITHOUT_US = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("perdure"):
            raise ImportError(f"the recipe imports {name}")
sys.meta_path.insert(0, Refuse())
"""


def recipe() -> str:
    """The recipe's code, as a reader copies it."""
    (code,) = re.findall(r"```python\n(.*?)```", RECIPE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 15, "about ten lines"
    return str(code)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_todays_table(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run make pages"


@pytest.mark.parametrize("name", local_twins.TWINS)
def test_the_calls_of_local_activities_are_made_from_those_of_activities(name: str) -> None:
    twin = local_twins.WORKFLOW / local_twins.TWINS[name]

    assert twin.read_text("utf-8") == local_twins.twin_of(name), "run make pages"


def test_the_recipe_without_us_writes_a_start(tmp_path: Path) -> None:
    before, produce, _ = recipe().partition("producer.produce(")
    assert produce
    (tmp_path / "StartWorkflow.avsc").write_text(avro.schema_text("StartWorkflow"))
    script = f"{WITHOUT_US}\n{before}\nimport sys\nsys.stdout.buffer.write(out.getvalue())\n"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=50
    )

    assert done.returncode == 0, done.stderr.decode()
    start = avro.decode_as(StartWorkflow, done.stdout)
    assert start.workflow_id == "order-4711"
    assert start.workflow_type == "OrderWorkflow"
    assert start.request_id == "checkout-4711"
    values = DefaultPayloadConverter().from_payloads(start.input)
    assert values == [{"id": "order-4711", "total": 12.5}]
    # What it leaves out stands at the defaults of our own class.
    assert start == StartWorkflow(
        workflow_id=start.workflow_id,
        workflow_type=start.workflow_type,
        request_id=start.request_id,
        input=start.input,
    )


def test_the_recipe_names_our_topic_and_partitioner() -> None:
    assert topic_name("commands", "default", "orders") in recipe()
    assert '"partitioner": "murmur2"' in recipe()


def test_a_stranger_who_imports_us_is_found_out() -> None:
    script = f"{WITHOUT_US}\nimport perdure_schemas.avro"

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=50
    )

    assert "the recipe imports perdure_schemas" in done.stderr
