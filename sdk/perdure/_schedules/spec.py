"""The spec of a schedule: calendars, intervals, cron expressions. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from perdure_actors.core import cron

YEAR_MIN, YEAR_MAX = 1970, 2200


@dataclass(frozen=True)
class ScheduleRange:
    """From a number to another, both included, in steps."""

    start: int
    end: int = 0
    """Not below start; 0 for start alone."""
    step: int = 0
    """0 for 1."""

    def __post_init__(self) -> None:
        if self.end < self.start:
            object.__setattr__(self, "end", self.start)
        if self.step <= 0:
            object.__setattr__(self, "step", 1)

    def numbers(self) -> range:
        """The numbers it holds."""
        return range(self.start, self.end + 1, self.step)


@dataclass(frozen=True)
class ScheduleCalendarSpec:
    """Points in local time that have all of these; by default midnight of each day."""

    second: Sequence[ScheduleRange] = (ScheduleRange(0),)
    minute: Sequence[ScheduleRange] = (ScheduleRange(0),)
    hour: Sequence[ScheduleRange] = (ScheduleRange(0),)
    day_of_month: Sequence[ScheduleRange] = (ScheduleRange(1, 31),)
    month: Sequence[ScheduleRange] = (ScheduleRange(1, 12),)
    year: Sequence[ScheduleRange] = ()
    """Empty for every year."""
    day_of_week: Sequence[ScheduleRange] = (ScheduleRange(0, 6),)
    """Sunday is 0."""
    comment: str | None = None


@dataclass(frozen=True)
class ScheduleIntervalSpec:
    """Every so often, counted from 1970 in UTC, and later by an offset."""

    every: timedelta
    offset: timedelta | None = None


@dataclass
class ScheduleSpec:
    """When a schedule acts: whenever any of its calendars, intervals or expressions says so."""

    calendars: Sequence[ScheduleCalendarSpec] = field(default_factory=list)
    intervals: Sequence[ScheduleIntervalSpec] = field(default_factory=list)
    cron_expressions: Sequence[str] = field(default_factory=list)
    skip: Sequence[ScheduleCalendarSpec] = field(default_factory=list)
    """Points in time that these hold are left out."""
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: timedelta | None = None
    """Each action is late by up to so much; by how much follows from its time and the schedule."""
    time_zone_name: str | None = None
    """The zone of calendars and cron expressions; UTC when there is none."""


_LIMITS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month": (1, 12),
    "year": (YEAR_MIN, YEAR_MAX),
    "day_of_week": (0, 6),
}


_DAYS_MAX = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}


def check_spec(spec: ScheduleSpec) -> None:
    """Raise ValueError, naming the field, for a spec that cannot be followed."""
    if not (spec.calendars or spec.intervals or spec.cron_expressions):
        raise ValueError(
            "the schedule's spec says no time: give calendars, intervals or cron_expressions"
        )
    cron.zone_of(spec.time_zone_name or "UTC")
    for where, calendars in (("calendars", spec.calendars), ("skip", spec.skip)):
        for number, calendar in enumerate(calendars):
            _check_calendar(f"{where}[{number}]", calendar)
    for number, interval in enumerate(spec.intervals):
        name = f"intervals[{number}]"
        if interval.every < timedelta(seconds=1):
            raise ValueError(f"{name}.every is {interval.every}: give at least a second")
        if not timedelta(0) <= (interval.offset or timedelta(0)) < interval.every:
            raise ValueError(f"{name}.offset is {interval.offset}: give less than every")
    for number, expression in enumerate(spec.cron_expressions):
        problem = cron.problem_of(expression)
        if problem:
            raise ValueError(f"cron_expressions[{number}]: {problem}")
    for name in ("start_at", "end_at"):
        moment: datetime | None = getattr(spec, name)
        if moment is not None and moment.tzinfo is None:
            raise ValueError(f"{name} has no time zone: give datetime(..., tzinfo=UTC)")
    if spec.jitter is not None and spec.jitter < timedelta(0):
        raise ValueError(f"jitter is {spec.jitter}: give none, or a positive one")


def _check_calendar(name: str, calendar: ScheduleCalendarSpec) -> None:
    for part, (lowest, highest) in _LIMITS.items():
        ranges: Sequence[ScheduleRange] = getattr(calendar, part)
        if not ranges and part != "year":
            raise ValueError(f"{name}.{part} is empty: it would hold no time at all")
        for one in ranges:
            if not lowest <= one.start <= one.end <= highest:
                raise ValueError(
                    f"{name}.{part} has {one.start} to {one.end}: give {lowest} to {highest}"
                )
    first = min(one.start for one in calendar.day_of_month)
    months = {month for one in calendar.month for month in one.numbers()}
    if all(first > _DAYS_MAX.get(month, 31) for month in months):
        listed = ", ".join(map(str, sorted(months)))
        raise ValueError(f"{name} never comes: month {listed} has no day {first}")
