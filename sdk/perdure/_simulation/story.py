"""The story of a simulated run in plain words: what happened, what went wrong, what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from perdure_schemas import events as ev

if TYPE_CHECKING:
    from perdure._simulation.fault_plan import Fault
    from perdure._simulation.journal import ActivityCall, Effect, Outcome
    from perdure._simulation.run_world import Moment, RunWorld

LINES_MAX: Final = 60
VALUE_CHARS_MAX: Final = 60
NAME_CHARS_MAX: Final = 80
WRONG: Final = "✗ "

_EVENTS: Final[dict[type[Any], str]] = {
    ev.WorkflowCompleted: "the workflow completed",
    ev.WorkflowFailed: "the workflow failed",
    ev.WorkflowCanceled: "the workflow was cancelled",
    ev.WorkflowTimedOut: "the workflow timed out",
    ev.WorkflowContinuedAsNew: "the workflow continued as new",
    ev.TimerFired: "a timer fired",
}


def short(value: Any) -> str:
    """A value, so that it fits a line."""
    text = repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[: VALUE_CHARS_MAX - 1]}…"


def story_of(world: RunWorld, outcome: Outcome) -> list[str]:
    """What happened in a run, a line each."""
    teller = _Teller(outcome)
    for moment in world.story:
        teller.take(moment)
    lines = teller.lines
    if len(lines) > LINES_MAX:
        half = LINES_MAX // 2
        left_out = f"            ... {len(lines) - 2 * half} lines ..."
        lines = [*lines[:half], left_out, *lines[-half:]]
    if outcome.status in ("blocked", "open"):
        lines.append(f"            {WRONG}{ending_of(outcome)}")
    return lines


def ending_of(outcome: Outcome) -> str:
    """How a run ended that did not."""
    if outcome.status == "blocked":
        return f"the workflow's code cannot go on: {outcome.reason}"
    return f"the workflow waits for something that never comes ({outcome.reason})"


class _Teller:
    """Writes the lines."""

    def __init__(self, outcome: Outcome) -> None:
        self.lines: list[str] = []
        self._outcome = outcome
        self._begun: set[str] = set()

    def _line(self, at_ms: int, text: str) -> None:
        self.lines.append(f"{at_ms / 1000:9.1f} s  {text}")

    def take(self, moment: Moment) -> None:
        """Tell of a moment, if there is something to tell."""
        write = getattr(self, f"_{moment.kind}", None)
        if write is not None:
            write(moment.at_ms, *moment.about)

    def _booted(self, at_ms: int, label: str) -> None:
        if label != "worker 1":
            self._line(at_ms, f"{label} takes over")

    def _began(self, at_ms: int, call: ActivityCall) -> None:
        again = " again" if call.key in self._begun else ""
        self._begun.add(call.key)
        attempt = f" (attempt {call.attempt})" if call.attempt > 1 else ""
        self._line(at_ms, f"{call.worker} runs {_name(call)}{again}{attempt}")

    def _effect(self, _at_ms: int, effect: Effect) -> None:
        fields = ", ".join(f"{name}={short(value)}" for name, value in effect.fields.items())
        self.lines.append(f"               {effect.name}({fields})")

    def _returned(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{call.activity} succeeded: {short(call.result)}")

    def _raised(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{call.activity} failed: {call.error}")

    def _fails_before(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{WRONG}{call.activity} failed before it did anything")

    def _refuses(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{WRONG}{call.activity} was refused for good")

    def _fails_after(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{call.activity} did its work: {short(call.result)}")
        self._line(at_ms, f"{WRONG}the answer was lost, so {call.activity} counts as failed")

    def _times_out(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{call.activity} did its work: {short(call.result)}")
        self._line(at_ms, f"{WRONG}it does not end before its start_to_close_timeout")

    def _late(self, at_ms: int, call: ActivityCall, ms: int) -> None:
        self._line(at_ms, f"{call.activity} succeeded: {short(call.result)}")
        self._line(at_ms, f"{WRONG}its result is on its way for {ms / 1000:.1f} s")

    def _doubled(self, at_ms: int, _activity_id: str) -> None:
        self._line(at_ms, f"{WRONG}the result is reported twice")

    def _dies_before(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{WRONG}{call.worker} died before {call.activity} did anything")

    def _dies_during(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{WRONG}{call.worker} died in the middle of {call.activity}")

    def _dies_after(self, at_ms: int, call: ActivityCall) -> None:
        self._line(at_ms, f"{call.activity} succeeded: {short(call.result)}")
        self._line(at_ms, f"{WRONG}{call.worker} died before it could report that")

    def _crash(self, at_ms: int, label: str, last: Any) -> None:
        after = "" if last is None else f", after the log had {_event(last)}"
        self._line(at_ms, f"{WRONG}{label} died{after}")

    def _deploy(self, at_ms: int, label: str, release: int) -> None:
        self._line(at_ms, f"{WRONG}{label} was stopped for a deploy of release {release}")

    def _cancel(self, at_ms: int) -> None:
        self._line(at_ms, f"{WRONG}somebody cancelled the workflow")

    def _signal(self, at_ms: int, name: str) -> None:
        self._line(at_ms, f"signal {name} was sent")

    def _event(self, at_ms: int, event: Any) -> None:
        text = _EVENTS.get(type(event))
        if text is None:
            return
        if isinstance(event, ev.WorkflowCompleted) and self._outcome.completed:
            text += f": {short(self._outcome.result)}"
        elif isinstance(event, ev.WorkflowFailed) and event.failure.chain:
            text += f": {event.failure.chain[0].message}"
        self._line(at_ms, text)


def _name(call: ActivityCall) -> str:
    if not call.args:
        return call.activity
    values = ", ".join(short(value) for value in call.args)
    text = f"{call.activity}({values})"
    return text if len(text) <= NAME_CHARS_MAX else f"{call.activity}(…)"


def _event(event: Any) -> str:
    """An event in words: ActivityCompleted of activity 2."""
    name = type(event).__name__
    about = getattr(event, "activity_type", "") or getattr(event, "activity_id", "")
    return f"{name} of {about}" if about else name


def in_short(faults: Sequence[Fault], world: RunWorld) -> str:
    """What went wrong, as one sentence."""
    parts = [_phrase(fault, world) for fault in faults]
    return "; ".join(parts) if parts else "nothing went wrong at all"


def _phrase(fault: Fault, world: RunWorld) -> str:
    name = fault.activity
    again = _again(fault, world)
    said = {
        "dies_before": f"the worker died before {name} did anything{again}",
        "dies_during": f"the worker died in the middle of {name}{again}",
        "dies_after": f"{name} succeeded, the worker died before reporting it{again}",
        "fails_before": f"{name} failed before it did anything{again}",
        "fails_after": f"{name} did its work, its answer was lost{again}",
        "refuses": f"{name} was refused for good",
        "times_out": f"{name} did its work and took longer than its timeout{again}",
        "late": f"the result of {name} came {fault.ms / 1000:.1f} s late",
        "doubled": f"the result of {name} was reported twice",
        "crash": f"the worker died behind record {fault.record} of the log",
        "deploy": f"a deploy stopped the worker behind record {fault.record} of the log",
        "cancel": "somebody cancelled the workflow",
    }
    return said[fault.kind]


def _again(fault: Fault, world: RunWorld) -> str:
    """Whether the activity was run again after that, and what that did anew."""
    calls = [one for one in world.journal.entries if one.activity == fault.activity]
    if len(calls) <= fault.nth or calls[fault.nth].key != calls[fault.nth - 1].key:
        return ""
    return f", the retry ran {fault.activity} again"
