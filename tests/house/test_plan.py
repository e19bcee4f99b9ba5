"""The floor plan inside the rooms: packages without circles, folders one can look over, names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from tests.house.plan import (
    FOLDER_MODULES_MAX,
    ING_NAMES,
    SINGLE_IMPORTER_LINES,
    SINGLE_IMPORTERS_MAX,
    TWICE_NAMES,
)
from tests.house.reading import Module, arrows, circles, house


def package_of(module: Module) -> str:
    """The package that a module is in; a room's own modules stand for themselves."""
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    return package if "." in package else module.name


def package_arrows(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Which packages each package imports from."""
    graph: dict[str, set[str]] = {package_of(module): set() for module in modules.values()}
    for name, targets in arrows(modules).items():
        here = package_of(modules[name])
        graph[here] |= {package_of(modules[target]) for target in targets} - {here}
    return graph


def crowded(modules: Mapping[str, Module]) -> Iterator[str]:
    """Folders with more modules than one can look over."""
    folders = Counter(
        module.name.rpartition(".")[0] for module in modules.values() if not module.is_package
    )
    for folder, count in folders.items():
        if count > FOLDER_MODULES_MAX:
            yield f"{folder}: {count} modules"


def namesakes(modules: Mapping[str, Module]) -> Iterator[str]:
    """Modules of one room with the same name."""
    by_name: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, module in modules.items():
        last = name.rpartition(".")[2]
        if not module.is_package and last not in TWICE_NAMES:
            by_name[module.room, last].append(name)
    for names in by_name.values():
        if len(names) > 1:
            yield " and ".join(sorted(names))


def ing_names(modules: Mapping[str, Module]) -> Iterator[str]:
    """Modules and packages named after what is being done, where a noun would say what is there."""
    for name in modules:
        last = name.rpartition(".")[2].strip("_")
        if last.endswith("ing") and last not in ING_NAMES:
            yield name


def single_importers(modules: Mapping[str, Module]) -> list[str]:
    """Small modules that only one other module imports: halves of a concept, perhaps."""
    importers = Counter(target for targets in arrows(modules).values() for target in targets)
    return sorted(
        name
        for name, module in modules.items()
        if not module.is_package
        and importers[name] == 1
        and len(module.text.splitlines()) < SINGLE_IMPORTER_LINES
    )


def test_no_circle_of_packages() -> None:
    assert circles(package_arrows(house())) == []


def test_folders_can_be_looked_over() -> None:
    assert list(crowded(house())) == []


def test_no_module_name_stands_twice_in_a_room() -> None:
    assert list(namesakes(house())) == []


def test_modules_are_named_by_nouns() -> None:
    assert list(ing_names(house())) == []


def test_small_modules_with_one_importer_grow_no_more() -> None:
    assert len(single_importers(house())) <= SINGLE_IMPORTERS_MAX


def test_what_is_planted_is_found() -> None:
    texts = {
        "perdure_actors.one.a": "from perdure_actors.two import b",
        "perdure_actors.two.b": "",
        "perdure_actors.two.c": "from perdure_actors.one import d",
        "perdure_actors.one.d": "",
        "perdure_actors.three.d": "",
        "perdure_actors.deciding": "",
    }
    planted = {
        name: Module(name, f"{name.replace('.', '/')}.py", text) for name, text in texts.items()
    }

    assert circles(package_arrows(planted)) == [["perdure_actors.one", "perdure_actors.two"]]
    assert list(namesakes(planted)) == ["perdure_actors.one.d and perdure_actors.three.d"]
    assert list(ing_names(planted)) == ["perdure_actors.deciding"]
    assert single_importers(planted) == ["perdure_actors.one.d", "perdure_actors.two.b"]
    names = [f"perdure_actors.one.m{number}" for number in range(FOLDER_MODULES_MAX + 1)]
    many = {name: Module(name, name, "") for name in names}
    assert list(crowded(many)) == [f"perdure_actors.one: {len(names)} modules"]
