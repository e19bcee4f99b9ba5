"""Command groups that load a command's module, and read its options, when that command runs."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_command_name, get_group
from typer.models import CommandInfo


class Lazy(NamedTuple):
    """A command or a group of commands, and where it is."""

    module: str
    attribute: str
    about: str
    """The first paragraph of its help, which the list of commands shows without loading it."""


class _Maker(NamedTuple):
    """What makes a command, and what the list of commands shows of it."""

    make: Callable[[], Any]
    about: str
    is_hidden: bool = False


class Commands(Mapping[str, Any]):
    """Commands by name, each made when it is first looked up."""

    def __init__(self, makers: Mapping[str, _Maker]) -> None:
        self._makers = makers
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The command of a name. Raises KeyError when there is none."""
        if name not in self._made:
            self._made[name] = self._makers[name].make()
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def outlines(self) -> dict[str, Any]:
        """Each command with what the list of commands shows of it, and nothing else."""
        return {
            name: TyperCommand(name=name, help=maker.about, hidden=maker.is_hidden)
            for name, maker in self._makers.items()
        }


def lazy_group(places: Mapping[str, Lazy]) -> type[TyperGroup]:
    """The class of a group that has the commands of these places."""
    return _group_of(
        {name: _Maker(partial(_load, name, place), place.about) for name, place in places.items()}
    )


def _load(name: str, place: Lazy) -> Any:
    found = getattr(importlib.import_module(place.module), place.attribute)
    if not isinstance(found, typer.Typer):
        return _single(CommandInfo(name, callback=found))
    makers = {}
    for command in found.registered_commands:
        assert command.callback is not None, "a registered command has a function"
        own = command.name or get_command_name(command.callback.__name__)
        about = inspect.getdoc(command.callback) or ""
        makers[own] = _Maker(partial(_single, command), about, command.hidden)
    group = get_group(
        typer.Typer(cls=_group_of(makers), name=name, help=found.info.help, no_args_is_help=True)
    )
    group.name = name
    return group


def _single(command: CommandInfo) -> Any:
    alone = typer.Typer(add_completion=False)
    alone.registered_commands.append(command)
    return get_command(alone)


def _group_of(makers: Mapping[str, _Maker]) -> type[TyperGroup]:
    class LazyGroup(TyperGroup):
        """A group whose list of commands makes none of them."""

        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands: Any = Commands(makers)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """The help page, made from outlines."""
            commands = self.commands
            self.commands = commands.outlines()
            try:
                super().format_help(ctx, formatter)
            finally:
                self.commands = commands

    return LazyGroup
