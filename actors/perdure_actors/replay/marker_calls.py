"""What a run's code notes so that replay gives it back: patches and the values of side effects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from perdure_actors.core.markers import PATCH
from perdure_actors.replay.blocked import BlockedError
from perdure_actors.replay.loop import Loop
from perdure_schemas.bounds import utf8
from perdure_schemas.converters import PayloadConverter
from perdure_schemas.fact_events import MarkerRecorded
from perdure_schemas.payloads import Payload, Record

SIDE_EFFECT = "side_effect"
MUTABLE_SIDE_EFFECT = "mutable_side_effect"
NAME_CHARS_MAX = 200


class Asker(Protocol):
    """Where what the code asks for goes."""

    loop: Loop
    converter: PayloadConverter

    def ask(self, output: Record) -> None:
        """Add an output event to those of this activation."""

    def call_site(self) -> str:
        """Where user code stands."""


class Markers:
    """The markers of one run."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.recorded: Sequence[Record] | None = None
        """While an activation is replayed: all the outputs that its history holds."""
        self.is_calling = False
        """Whether a side effect's function is running; it may ask for nothing."""
        self.lost: BlockedError | None = None
        """The history lacks a value: whatever the code makes of it, the run cannot go on."""
        self._patches: dict[str, bool] = {}
        self._effects = 0
        self._calls: dict[str, int] = {}
        self._values: dict[str, Any] = {}

    def patched(self, name: str, *, allows: Callable[[str], bool] | None = None) -> bool:
        """Whether the run takes the new code: it does unless it was here before that was.

        Where somebody else has a say, it is asked once: a patch that is not taken leaves no
        marker, and so replay does not take it either.
        """
        name = utf8(name)
        taken = self._patches.get(name)
        if taken is None and self.recorded is None and allows is not None and not allows(name):
            _check_name(name, "a patch")
            taken = self._patches[name] = False
        if taken is None:
            taken = self._mark_patch(name, deprecated=False)
        return taken

    def deprecate_patch(self, name: str) -> None:
        """All runs take the new code; histories with the patch and without it fit."""
        name = utf8(name)
        if name not in self._patches:
            self._mark_patch(name, deprecated=True)

    def _mark_patch(self, name: str, *, deprecated: bool) -> bool:
        _check_name(name, "a patch")
        if self.recorded is None:
            self._record(PATCH, name, deprecated=deprecated)
            taken = True
        else:
            found = self._find(PATCH, name)
            if found is not None:
                self._asker.ask(found)
            taken = found is not None
        self._patches[name] = taken
        return taken

    def side_effect(self, function: Callable[[], Any], *, type_hint: Any) -> Any:
        """What a function gave when it was called the first time."""
        self._effects += 1
        name = str(self._effects)
        if self.recorded is not None:
            return self._recall(SIDE_EFFECT, name, type_hint)
        return self._note(SIDE_EFFECT, name, self._call(function), type_hint)

    def mutable_side_effect(
        self,
        name: str,
        function: Callable[[], Any],
        *,
        type_hint: Any,
        is_new: Callable[[Any, Any], bool],
    ) -> Any:
        """What a function gives, noted where it differs from what it gave before."""
        _check_name(name, "a mutable side effect")
        name = utf8(name)
        self._calls[name] = call = self._calls.get(name, 0) + 1
        # The call's number is part of the name: one activation may call it several times.
        marker = f"{call}/{name}"
        is_first = name not in self._values
        if self.recorded is not None:
            if is_first or self._find(MUTABLE_SIDE_EFFECT, marker) is not None:
                self._values[name] = self._recall(MUTABLE_SIDE_EFFECT, marker, type_hint)
        else:
            value = self._call(function)
            if is_first or is_new(self._values[name], value):
                self._values[name] = self._note(MUTABLE_SIDE_EFFECT, marker, value, type_hint)
        return self._values[name]

    def _recall(self, kind: str, name: str, type_hint: Any) -> Any:
        """The value that the history holds. Raises BlockedError when it holds none."""
        found = self._find(kind, name)
        if found is None or found.value is None:
            site = self._asker.call_site()
            self.lost = BlockedError(
                "nondeterminism",
                f"the code asks at {site} for the value of {kind} {name}, which the history of"
                " this run does not hold there: the code was not so when it was recorded. Put new"
                " side effects behind workflow.patched, or let old runs finish on the old code",
                recorded="nothing of it",
                produced=f"{kind} {name} at {site}",
            )
            raise self.lost
        self._asker.ask(found)
        return self._read(found.value, kind, name, type_hint)

    def _note(self, kind: str, name: str, value: Any, type_hint: Any) -> Any:
        """Note a value, and give it as replay will: read back from what was noted."""
        payload = self._asker.converter.to_payload(value, what=f"the value of {kind} {name}")
        self._record(kind, name, value=payload)
        return self._read(payload, kind, name, type_hint)

    def _read(self, payload: Payload, kind: str, name: str, type_hint: Any) -> Any:
        what = f"the value of {kind} {name}"
        return self._asker.converter.from_payload(payload, type_hint, what=what)

    def _call(self, function: Callable[[], Any]) -> Any:
        """Call a function that may do what workflow code may not."""
        if inspect.iscoroutinefunction(function):
            raise TypeError(
                "a side effect is a plain function that returns a value at once: do what must be"
                " awaited in an activity, or in a local activity"
            )
        loop = self._asker.loop
        loop.is_unrestricted += 1
        self.is_calling = True
        try:
            return function()
        finally:
            self.is_calling = False
            loop.is_unrestricted -= 1

    def _record(
        self, kind: str, name: str, *, value: Payload | None = None, deprecated: bool = False
    ) -> None:
        site = self._asker.call_site()
        self._asker.ask(
            MarkerRecorded(kind=kind, name=name, value=value, deprecated=deprecated, call_site=site)
        )

    def _find(self, kind: str, name: str) -> MarkerRecorded | None:
        for output in self.recorded or ():
            if type(output) is MarkerRecorded and output.kind == kind and output.name == name:
                return output
        return None


def _check_name(name: str, what: str) -> None:
    if not name or len(name) > NAME_CHARS_MAX:
        raise ValueError(f"{what} needs a name of 1 to {NAME_CHARS_MAX} characters, not {name!r}")
