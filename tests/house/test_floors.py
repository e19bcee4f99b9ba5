"""Imports go down only, pure rooms stay pure, and nothing goes round in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import pytest

from tests.house.plan import (
    ADAPTER_LIBRARIES,
    ADAPTER_NAMES,
    CORE_MAY_IMPORT,
    GUARD_MAY_IMPORT_TOO,
    LIBRARY_ROOMS,
    NOT_IN_SCHEMAS,
    REPLAY_MAY_IMPORT,
    ROOMS,
    ROOMS_BELOW,
)
from tests.house.reading import Module, arrows, circles, house, imports_of, within

CORE = "perdure_actors.core"
REPLAY = "perdure_actors.replay"
ASSEMBLY = "perdure._assembly"
WORLDS = "perdure._simulation"
"""Simulated worlds, which have no log but the simulated one."""


def climbs(modules: Mapping[str, Module]) -> Iterator[str]:
    """Imports of a room that is not below the importing one."""
    for module in modules.values():
        for found in imports_of(module):
            room = found.name.partition(".")[0]
            if room in ROOMS and room != module.room and room not in ROOMS_BELOW[module.room]:
                yield f"{module.path}:{found.line} imports {found.name}"


def stray_libraries(modules: Mapping[str, Module]) -> Iterator[str]:
    """Libraries that touch the world, outside the rooms that may."""
    for module in modules.values():
        for found in imports_of(module):
            for library, rooms in LIBRARY_ROOMS.items():
                if within(found.name, [library]) and module.room not in rooms:
                    yield f"{module.path}:{found.line} imports {found.name}: only {sorted(rooms)}"


def impurities(modules: Mapping[str, Module]) -> Iterator[str]:
    """Imports of core, replay and schemas beyond what keeps them pure."""
    for name, module in modules.items():
        for found in imports_of(module, modules):
            where = f"{module.path}:{found.line} imports {found.name}"
            if within(name, [CORE]) and not within(found.name, CORE_MAY_IMPORT):
                yield where
            elif within(name, [REPLAY]) and not within(found.name, REPLAY_MAY_IMPORT):
                is_guard = name.startswith(f"{REPLAY}.guard")
                if not (is_guard and within(found.name, GUARD_MAY_IMPORT_TOO)):
                    yield where
            elif module.room == "perdure_schemas" and within(found.name, NOT_IN_SCHEMAS):
                yield where


def clock_readings(modules: Mapping[str, Module]) -> Iterator[str]:
    """Calls that read the clock through a type that pure rooms may import."""
    for name, module in modules.items():
        if not within(name, [CORE, "perdure_schemas"]):
            continue
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in {"now", "utcnow", "today"}
                and isinstance(node.value, ast.Name | ast.Attribute)
                and ast.unparse(node.value).endswith(("datetime", "date"))
            ):
                yield f"{module.path}:{node.lineno} reads the clock"


def adapters(modules: Mapping[str, Module]) -> set[str]:
    """The modules of topics that are an adapter, or reach a library that only adapters touch."""
    graph = arrows(modules)
    found = {
        name
        for name, module in modules.items()
        if module.room == "perdure_topics"
        and (
            (name.split(".")[1:2] != [] and name.split(".")[1].split("_")[0] in ADAPTER_NAMES)
            or any(within(i.name, ADAPTER_LIBRARIES) for i in imports_of(module))
        )
    }
    while True:
        more = {
            name
            for name in modules
            if modules[name].room == "perdure_topics" and name not in found and graph[name] & found
        }
        if not more:
            return found
        found |= more


def adapter_arrows(modules: Mapping[str, Module]) -> Iterator[str]:
    """Adapters imported by actors or views, or by a module that imports actors too."""
    known = adapters(modules)
    for name, targets in arrows(modules).items():
        met = sorted(targets & known)
        room = modules[name].room
        if met and room in {"perdure_actors", "perdure_views"}:
            yield f"{name} imports {met}: adapters are chosen in {ASSEMBLY}"
        names_actors = any(target.startswith("perdure_actors") for target in targets)
        if within(name, [WORLDS]):
            met = [one for one in met if not within(one, ["perdure_topics.simulated"])]
        if met and names_actors and not within(name, [ASSEMBLY]):
            yield f"{name} names adapters {met} and actors: only {ASSEMBLY} does"


def test_imports_go_down_only() -> None:
    assert list(climbs(house())) == []


def test_libraries_that_touch_the_world_stay_in_their_rooms() -> None:
    assert list(stray_libraries(house())) == []


def test_core_replay_and_schemas_stay_pure() -> None:
    assert list(impurities(house())) == []


def test_pure_rooms_read_no_clock() -> None:
    assert list(clock_readings(house())) == []


def test_adapters_are_named_only_where_they_are_chosen() -> None:
    assert list(adapter_arrows(house())) == []


def test_no_import_circles() -> None:
    assert circles(arrows(house())) == []


PLANTED = {
    "a type-only import upwards": (
        climbs,
        {"perdure_topics.fold": "if TYPE_CHECKING:\n    from perdure_actors import shard"},
    ),
    "a late import upwards": (
        climbs,
        {"perdure_actors.host": "def f():\n    import perdure.client"},
    ),
    "kafka in actors": (stray_libraries, {"perdure_actors.host": "import confluent_kafka"}),
    "the sdk of traces in actors": (
        stray_libraries,
        {"perdure_actors.host": "from opentelemetry.sdk.trace import TracerProvider"},
    ),
    "asyncio in core": (impurities, {"perdure_actors.core.rules": "import asyncio"}),
    "a shell in core": (
        impurities,
        {"perdure_actors.core.rules": "from .. import host", "perdure_actors.host": ""},
    ),
    "a clock in replay": (impurities, {"perdure_actors.replay.loop": "import time"}),
    "a clock in schemas": (impurities, {"perdure_schemas.avro": "from time import time"}),
    "now in core": (clock_readings, {"perdure_actors.core.timers": "at = datetime.now(UTC)"}),
    "an adapter by name": (
        adapter_arrows,
        {
            "perdure_topics.simulated_log": "",
            "perdure_actors.host": "import perdure_topics.simulated_log",
        },
    ),
    "an adapter by what it reaches": (
        adapter_arrows,
        {
            "perdure_topics.store": "from perdure_topics import disk",
            "perdure_topics.disk": "import rocksdict",
            "perdure_views.page": "from perdure_topics.store import Store",
        },
    ),
    "two assemblies": (
        adapter_arrows,
        {
            "perdure_topics.kafka": "",
            "perdure_actors.host": "",
            "perdure.worker": "from perdure_topics import kafka\nfrom perdure_actors import host",
        },
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_arrow_is_found(case: str) -> None:
    rule, sources = PLANTED[case]
    modules = {name: Module(name, f"{name}.py", text) for name, text in sources.items()}

    assert len(list(rule(modules))) == 1


def test_planted_circles_are_found_and_straight_lines_are_not() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"e"}}

    assert circles(graph) == [["a", "b", "c"], ["e"]]
