"""Modules have names that say something, and open with a sentence saying what may live there."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from tests.house.plan import DUMPING_NAMES, FRONT_DOOR_MAY_CALL_IT
from tests.house.reading import Module, house, other_roots


def dumping_names(modules: Mapping[str, Module]) -> Iterator[str]:
    """Modules named after nothing in particular."""
    for name, module in modules.items():
        last = name.rpartition(".")[2].strip("_")
        is_allowed = module.room == "perdure" and last in FRONT_DOOR_MAY_CALL_IT
        if last in DUMPING_NAMES and not is_allowed:
            yield module.path


def silent_openings(modules: Mapping[str, Module]) -> Iterator[str]:
    """Modules whose first line is no sentence."""
    for module in modules.values():
        opening = (ast.get_docstring(module.tree) or "").partition("\n")[0]
        if len(opening.split()) < 3 or not opening.endswith((".", ":")):
            yield f"{module.path}: {opening!r}"


def late_annotations(modules: Mapping[str, Module]) -> Iterator[str]:
    """Modules with code that evaluate their annotations when they are imported."""
    for module in modules.values():
        has_code = len(module.tree.body) > 1
        if has_code and "from __future__ import annotations" not in module.text:
            yield module.path


def test_no_module_is_a_dumping_place() -> None:
    assert list(dumping_names(house())) == []


def test_every_module_opens_with_a_sentence() -> None:
    assert list(silent_openings({**house(), **other_roots()})) == []


def test_annotations_are_evaluated_late_everywhere() -> None:
    assert list(late_annotations(house())) == []


def test_planted_names_and_openings_are_found() -> None:
    planted = {
        name: Module(name, name, text)
        for name, text in {
            "perdure_topics.utils": '"""Says what it is for."""',
            "perdure_topics._common": '"""Says what it is for."""',
            "perdure.common": '"""Says what it is for."""',
            "perdure_topics.fold": '"""fold"""\nx = 1',
        }.items()
    }

    assert list(dumping_names(planted)) == ["perdure_topics.utils", "perdure_topics._common"]
    assert list(silent_openings(planted)) == ["perdure_topics.fold: 'fold'"]
    assert list(late_annotations(planted)) == ["perdure_topics.fold"]
