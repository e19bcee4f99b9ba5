"""Cron schedules of workflows: when the next run is due. Arithmetic with a library, nothing else.

What is computed here is recorded as a delay, so another machine's zones or library never matter
to a run that has begun.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

SCHEDULE_CHARS_MAX = 1000
EVERY_MS_MIN = 1000
_SECOND_MS = 1000
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS_MS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_ZONE = re.compile(r"(?:CRON_TZ|TZ)=(\S+)\s+(.*)", re.DOTALL)
_HELP = (
    'give five fields ("30 9 * * MON-FRI"), an alias ("@daily"), or "@every 1h30m"; the zone is UTC'
    ' unless "CRON_TZ=Europe/Berlin " stands in front'
)


def next_due_ms(schedule: str, after_ms: int, *, began_ms: int) -> int:
    """When a schedule is due next after a moment, in ms; 0 when it never is again.

    Intervals count from `began_ms`. A local time that a clock change skips is due right after the
    change; one that it doubles is due once, the first time, but "every so many minutes" goes on by
    the clock on the wall. Raises ValueError for a schedule that cannot be read.
    """
    text = schedule.strip()
    if len(text) > SCHEDULE_CHARS_MAX:
        raise ValueError(f"a cron schedule has at most {SCHEDULE_CHARS_MAX} characters; {_HELP}")
    found = _ZONE.fullmatch(text)
    zone = ZoneInfo("UTC") if found is None else zone_of(found[1])
    text = text if found is None else found[2].strip()
    if text.startswith("@every"):
        every_ms = _interval_ms(text)
        return began_ms + max((after_ms - began_ms) // every_ms + 1, 1) * every_ms
    return due_after_ms(_ALIASES.get(text.lower(), text), zone, after_ms)


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name. Raises ValueError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        msg = f"there is no time zone {name!r}: give a name like Europe/Berlin"
        raise ValueError(msg) from error


def due_after_ms(expression: str, zone: ZoneInfo, after_ms: int) -> int:
    """When an expression of cron fields is due next in a zone, in ms; 0 when it never is.

    Raises ValueError for an expression that cannot be read.
    """
    after = datetime.fromtimestamp(after_ms // _SECOND_MS, UTC).astimezone(zone)
    try:
        due = next(CronSim(expression.upper(), after), None)
    except CronSimError as error:
        text = str(error) or "it cannot be read"
        raise ValueError(f"cron schedule {expression!r}: {text.lower()}; {_HELP}") from error
    return 0 if due is None else int(due.timestamp()) * _SECOND_MS


def problem_of(schedule: str) -> str:
    """Why a cron schedule cannot be followed; empty when it can."""
    try:
        due_ms = next_due_ms(schedule, 0, began_ms=0)
    except ValueError as error:
        return str(error)
    return "" if due_ms else f"cron schedule {schedule!r} is never due"


def _interval_ms(text: str) -> int:
    parts = text.removeprefix("@every").strip()
    found = list(_PART.finditer(parts))
    if not found or "".join(part[0] for part in found) != parts:
        raise ValueError(f"cron schedule {text!r}: {parts!r} is no interval; {_HELP}")
    every_ms = int(sum(float(part[1]) * _UNITS_MS[part[2]] for part in found))
    if every_ms < EVERY_MS_MIN:
        raise ValueError(f"cron schedule {text!r}: an interval has at least a second")
    return every_ms
