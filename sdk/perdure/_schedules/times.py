"""The times of a schedule, computed from calendars, intervals and zones. Pure.

A local time that a clock change skips is taken at the change; one that it doubles, the first time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from perdure._schedules.spec import (
    YEAR_MAX,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)
from perdure_actors.core import cron

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
SKIPPED_MAX = 10_000
"""How many times in a row may be left out before the schedule counts as over."""


class Times:
    """When one schedule acts. `seed` is what its jitter follows from."""

    def __init__(self, spec: ScheduleSpec, *, seed: str = "") -> None:
        self._zone = cron.zone_of(spec.time_zone_name or "UTC")
        self._calendars = [_Calendar(one, self._zone) for one in spec.calendars]
        self._skip = [_Calendar(one, self._zone) for one in spec.skip]
        self._intervals = list(spec.intervals)
        self._expressions = [self._with_zone(one, spec) for one in spec.cron_expressions]
        self._start = None if spec.start_at is None else _in_utc(spec.start_at)
        self._end = None if spec.end_at is None else _in_utc(spec.end_at)
        self._jitter = spec.jitter or timedelta(0)
        self._seed = seed

    def _with_zone(self, expression: str, spec: ScheduleSpec) -> str:
        if spec.time_zone_name is None or "TZ=" in expression:
            return expression
        return f"CRON_TZ={spec.time_zone_name} {expression}"

    def next(self, after: datetime) -> datetime | None:
        """The first time after a moment, before jitter; None when there is none any more."""
        after = after.astimezone(UTC)
        if self._start is not None and after < self._start:
            after = self._start - timedelta(microseconds=1)
        for _ in range(SKIPPED_MAX):
            found = self._soonest(after) if after.year <= YEAR_MAX else None
            if found is None or (self._end is not None and found > self._end):
                return None
            if not any(one.holds(found) for one in self._skip):
                return found
            after = found
        return None

    def between(self, after: datetime, upto: datetime) -> Iterator[datetime]:
        """The times after a moment and up to another, before jitter."""
        found = self.next(after)
        while found is not None and found <= upto:
            yield found
            found = self.next(found)

    def act_at(self, nominal: datetime) -> datetime:
        """When the action of a time is taken: late by its jitter, and before the next one."""
        if not self._jitter:
            return nominal
        following = self.next(nominal)
        most = min(self._jitter, (_LAST if following is None else following) - nominal)
        text = f"{self._seed}/{int(nominal.timestamp())}".encode()
        part = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / (1 << 64)
        return nominal + timedelta(milliseconds=int(most / timedelta(milliseconds=1) * part))

    def _soonest(self, after: datetime) -> datetime | None:
        found = [one.next(after) for one in self._calendars]
        found += [_next_interval(one, after) for one in self._intervals]
        found += [_next_cron(one, after) for one in self._expressions]
        return min((one for one in found if one is not None), default=None)


def _in_utc(moment: datetime) -> datetime:
    """A point in time in UTC; the nearest one that there is, at either end of all time."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _FIRST if moment.year == 1 else _LAST


def _next_interval(interval: ScheduleIntervalSpec, after: datetime) -> datetime | None:
    offset = interval.offset or timedelta(0)
    try:
        passed = (after - EPOCH - offset) // interval.every + 1
        return EPOCH + offset + passed * interval.every
    except OverflowError:
        # It is behind the end of all time.
        return None


def _next_cron(expression: str, after: datetime) -> datetime | None:
    due_ms = cron.next_due_ms(expression, (after - EPOCH) // timedelta(milliseconds=1), began_ms=0)
    return EPOCH + timedelta(milliseconds=due_ms) if due_ms else None


def _numbers(ranges: Sequence[ScheduleRange]) -> list[int]:
    return sorted({number for one in ranges for number in one.numbers()})


class _Calendar:
    def __init__(self, spec: ScheduleCalendarSpec, zone: ZoneInfo) -> None:
        self._zone = zone
        self._seconds = _numbers(spec.second)
        self._minutes = _numbers(spec.minute)
        self._hours = _numbers(spec.hour)
        self._days = set(_numbers(spec.day_of_month))
        self._months = set(_numbers(spec.month))
        self._years = set(_numbers(spec.year))
        self._weekdays = set(_numbers(spec.day_of_week))

    def holds(self, moment: datetime) -> bool:
        """Whether a point in time is one of the calendar's."""
        local = moment.astimezone(self._zone)
        clock = (
            local.hour in self._hours
            and local.minute in self._minutes
            and local.second in self._seconds
        )
        return clock and self._has_day(local.date())

    def next(self, after: datetime) -> datetime | None:
        """The first point in time after a moment; None when there is none."""
        # A zone may move by up to a day: what is left of the day before is looked at, too.
        day = after.astimezone(self._zone).date() - _DAY
        while day.year <= YEAR_MAX:
            if self._years and day.year not in self._years:
                later = [year for year in self._years if year > day.year]
                if not later:
                    return None
                day = date(min(later), 1, 1)
            elif day.month not in self._months:
                day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            elif self._has_day(day) and (found := self._on(day, after)) is not None:
                return found
            else:
                day += _DAY
        return None

    def _has_day(self, day: date) -> bool:
        return (
            day.day in self._days
            and day.month in self._months
            and (not self._years or day.year in self._years)
            and (day.weekday() + 1) % 7 in self._weekdays
        )

    def _on(self, day: date, after: datetime) -> datetime | None:
        """The first of a day's points in time that is after a moment."""
        for hour in self._hours:
            if self._at(day, hour, 59, 59) <= after:
                continue
            for minute in self._minutes:
                if self._at(day, hour, minute, 59) <= after:
                    continue
                for second in self._seconds:
                    found = self._at(day, hour, minute, second)
                    if found > after:
                        return found
        return None

    def _at(self, day: date, hour: int, minute: int, second: int) -> datetime:
        """A local time as a point in time."""
        local = datetime.combine(day, time(hour, minute, second), tzinfo=self._zone)
        moment = local.astimezone(UTC)
        if moment.astimezone(self._zone).replace(tzinfo=None) == local.replace(tzinfo=None):
            return moment
        return self._change_before(moment)

    def _change_before(self, moment: datetime) -> datetime:
        """The clock change that skips the local time which would be this moment."""
        low, high = moment - _DAY, moment
        offset = high.astimezone(self._zone).utcoffset()
        while high - low > _SECOND:
            middle = low + (high - low) // 2
            if middle.astimezone(self._zone).utcoffset() == offset:
                high = middle
            else:
                low = middle
        # Clocks change at whole seconds, and one lies between them.
        return high.replace(microsecond=0)
