"""How a command finds what a module defines, and what it says of modules that it cannot use."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from perdure.cli.user_modules import ModuleError, load

WORKFLOW = """
from perdure import activity, workflow

@workflow.defn
class Greeting:
    @workflow.run
    async def run(self) -> str:
        return "hello"

class Client:
    def __init__(self) -> None:
        self.calls = 0

    @activity.defn
    async def greet(self, name: str) -> str:
        return name

    @activity.defn(name="part")
    async def leave(self, name: str) -> str:
        return name

    def helper(self) -> None: ...

@activity.defn
def compose(name: str) -> str:
    return name
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def names(activities: Sequence[object]) -> list[str]:
    return [getattr(activity, "__name__", "") for activity in activities]


def test_workflows_and_functions_are_found(here: Path) -> None:
    (here / "shop_a.py").write_text(WORKFLOW)

    found = load("shop_a")

    assert [cls.__name__ for cls in found.workflows] == ["Greeting"]
    assert names(found.activities) == ["compose"]
    assert found.task_queue is None


def test_methods_of_an_object_in_the_module_are_found(here: Path) -> None:
    (here / "shop_b.py").write_text(f"{WORKFLOW}\nclient = Client()\nTASK_QUEUE = 'greetings'\n")

    found = load("shop_b")

    assert sorted(names(found.activities)) == ["compose", "greet", "leave"]
    assert found.task_queue == "greetings"


def test_a_function_activities_is_asked(here: Path) -> None:
    (here / "shop_c.py").write_text(f"{WORKFLOW}\ndef activities():\n    return [Client()]\n")

    assert names(load("shop_c").activities) == ["greet", "leave"]


def test_a_list_of_activities_is_all_that_is_taken(here: Path) -> None:
    (here / "shop_d.py").write_text(f"{WORKFLOW}\nACTIVITIES = [compose, Client().greet]\n")

    assert names(load("shop_d").activities) == ["compose", "greet"]


def test_a_package_is_found_from_where_one_stands_and_by_its_path(here: Path) -> None:
    package = here / "shops" / "inner"
    package.mkdir(parents=True)
    (package / "app.py").write_text(WORKFLOW)

    by_name = load("shops.inner.app")
    by_path = load("shops/inner/app.py")

    assert by_name.workflows == by_path.workflows


def test_a_file_elsewhere_is_found(tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "my_shop.py"
    elsewhere.write_text(WORKFLOW)

    assert [cls.__name__ for cls in load(str(elsewhere)).workflows] == ["Greeting"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_library\n", r"app\.py:1: ModuleNotFoundError: .*no_such_library"),
        ("\nx = 1 / 0\n", r"app\.py:2: ZeroDivisionError"),
        ("\n\ndef broken(:\n", r"app\.py:3: invalid syntax"),
        ("x = 1\n", "defines no workflow and no activity"),
        ("ACTIVITIES = [5]\n", r"lists 5 among its activities: it is none"),
        ("def activities():\n    return 1 / 0\n", r"app\.py:2: ZeroDivisionError"),
        (
            "from perdure import workflow\n\n@workflow.defn\nclass NoRun: ...\n",
            r"app\.py:3: .*NoRun",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_refused_with_its_line(
    here: Path, text: str, said: str
) -> None:
    (here / "app.py").write_text(text)

    with pytest.raises(ModuleError, match=said):
        load("app")


@pytest.mark.parametrize("name", ["no.such.module", "no_such.py"])
def test_a_module_that_is_not_there_is_said(name: str) -> None:
    with pytest.raises(ModuleError, match="there is no"):
        load(name)
