"""The times of schedules, against a reference that looks at every minute of a clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure._schedules.spec import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
    check_spec,
)
from perdure._schedules.times import Times

BERLIN = "Europe/Berlin"
ZONES = ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
MINUTE = timedelta(minutes=1)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def some(spec: ScheduleSpec, after: datetime, count: int) -> list[datetime]:
    times = Times(spec)
    found: list[datetime] = []
    moment = times.next(after)
    while moment is not None and len(found) < count:
        found.append(moment)
        moment = times.next(moment)
    return found


def daily(hour: int, minute: int, **fields: Any) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(
        hour=[ScheduleRange(hour)], minute=[ScheduleRange(minute)], **fields
    )


def test_a_range_has_both_ends_and_steps() -> None:
    assert list(ScheduleRange(5).numbers()) == [5]
    assert list(ScheduleRange(1, 7, 3).numbers()) == [1, 4, 7]
    assert ScheduleRange(5, 2) == ScheduleRange(5, 5, 1)


def test_calendars_and_intervals_and_expressions_together() -> None:
    spec = ScheduleSpec(
        calendars=[daily(9, 30)],
        intervals=[ScheduleIntervalSpec(timedelta(hours=12), timedelta(hours=1))],
        cron_expressions=["0 22 * * *"],
    )

    assert some(spec, at("2026-03-06T00:00"), 5) == [
        at("2026-03-06T01:00"),
        at("2026-03-06T09:30"),
        at("2026-03-06T13:00"),
        at("2026-03-06T22:00"),
        at("2026-03-07T01:00"),
    ]


def test_a_local_time_that_a_clock_change_skips_is_taken_at_the_change() -> None:
    spec = ScheduleSpec(calendars=[daily(2, 30)], time_zone_name=BERLIN)

    assert some(spec, at("2026-03-28T12:00"), 2) == [
        at("2026-03-29T03:00", BERLIN),
        at("2026-03-30T02:30", BERLIN),
    ]


def test_a_local_time_that_a_clock_change_doubles_is_taken_the_first_time() -> None:
    spec = ScheduleSpec(calendars=[daily(2, 30)], time_zone_name=BERLIN)

    assert some(spec, at("2026-10-24T12:00"), 2) == [at("2026-10-25T00:30"), at("2026-10-26T01:30")]


def test_the_days_of_the_week_begin_with_sunday() -> None:
    spec = ScheduleSpec(calendars=[daily(0, 0, day_of_week=[ScheduleRange(0)])])

    assert some(spec, at("2026-03-06T00:00"), 2) == [at("2026-03-08T00:00"), at("2026-03-15T00:00")]


def test_leap_days_and_years() -> None:
    leap = daily(0, 0, month=[ScheduleRange(2)], day_of_month=[ScheduleRange(29)])
    once = daily(0, 0, year=[ScheduleRange(2031)], month=[ScheduleRange(5)])

    assert some(ScheduleSpec(calendars=[leap]), at("2026-03-06T00:00"), 1) == [
        at("2028-02-29T00:00")
    ]
    assert some(ScheduleSpec(calendars=[once]), at("2026-03-06T00:00"), 1) == [
        at("2031-05-01T00:00")
    ]
    assert some(ScheduleSpec(calendars=[once]), at("2031-06-01T00:00"), 1) == []


def test_what_is_to_be_skipped_is_left_out_and_both_ends_are_in() -> None:
    spec = ScheduleSpec(
        calendars=[daily(9, 0)],
        skip=[daily(9, 0, day_of_week=[ScheduleRange(0), ScheduleRange(6)])],
        start_at=at("2026-03-06T09:00"),
        end_at=at("2026-03-10T09:00"),
    )

    assert some(spec, at("2026-01-01T00:00"), 9) == [
        at("2026-03-06T09:00"),
        at("2026-03-09T09:00"),
        at("2026-03-10T09:00"),
    ]


def test_a_schedule_that_skips_all_of_its_times_is_over() -> None:
    spec = ScheduleSpec(calendars=[daily(9, 0)], skip=[daily(9, 0)])

    assert some(spec, at("2026-01-01T00:00"), 1) == []


@pytest.mark.parametrize(
    "spec",
    [
        ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta.max)]),
        ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=timedelta(minutes=1))],
            start_at=datetime.max.replace(tzinfo=UTC),
        ),
        ScheduleSpec(
            calendars=[ScheduleCalendarSpec()],
            start_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
            time_zone_name="Pacific/Kiritimati",
        ),
        ScheduleSpec(
            cron_expressions=["0 0 * * *"],
            start_at=datetime.max.replace(tzinfo=UTC),
            jitter=timedelta.max,
        ),
    ],
)
def test_what_is_due_behind_the_end_of_all_time_is_never_due(spec: ScheduleSpec) -> None:
    assert Times(spec).next(datetime(2026, 1, 1, tzinfo=UTC)) is None


def test_jitter_and_bounds_without_end_are_kept_to_what_there_is() -> None:
    spec = ScheduleSpec(
        calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2030)], month=[ScheduleRange(1)])],
        start_at=datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        end_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
        jitter=timedelta.max,
    )
    times = Times(spec)
    last = datetime(2030, 1, 31, tzinfo=UTC)
    assert times.next(datetime(2030, 1, 30, tzinfo=UTC)) == last
    assert times.next(last) is None
    assert times.act_at(last) >= last


def test_jitter_follows_from_the_schedule_and_never_passes_the_next_time() -> None:
    spec = ScheduleSpec(
        intervals=[ScheduleIntervalSpec(timedelta(minutes=1))], jitter=timedelta(hours=1)
    )
    mine, again, other = Times(spec, seed="a"), Times(spec, seed="a"), Times(spec, seed="b")
    nominal = list(islice(mine.between(at("2026-01-01T00:00"), at("2027-01-01T00:00")), 50))

    late = [mine.act_at(one) - one for one in nominal]

    assert late == [again.act_at(one) - one for one in nominal]
    assert late != [other.act_at(one) - one for one in nominal]
    assert all(timedelta(0) <= one < MINUTE for one in late)
    assert len(set(late)) > 40
    still = Times(ScheduleSpec(intervals=spec.intervals), seed="a")
    assert still.act_at(nominal[0]) == nominal[0]


def ranges(lowest: int, highest: int) -> Any:
    def made(numbers: tuple[int, int, int]) -> ScheduleRange:
        return ScheduleRange(min(numbers[:2]), max(numbers[:2]), numbers[2])

    number = st.integers(lowest, highest)
    return st.lists(st.tuples(number, number, st.integers(1, 9)).map(made), min_size=1, max_size=2)


CALENDARS = st.builds(
    ScheduleCalendarSpec,
    minute=ranges(0, 59),
    hour=ranges(0, 23),
    day_of_month=ranges(1, 31),
    month=st.just((ScheduleRange(1, 12),)),
    day_of_week=ranges(0, 6),
)
# Days around the changes of clocks, and others.
DAYS = st.sampled_from(
    ["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"]
) | st.dates(date(2025, 1, 1), date(2027, 1, 1)).map(str)


def offset(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def by_looking(calendar: ScheduleCalendarSpec, zone: ZoneInfo, after: datetime) -> list[datetime]:
    """What a clock on the wall shows, minute by minute, for three days."""
    numbers = {
        part: {n for one in getattr(calendar, part) for n in one.numbers()}
        for part in ("minute", "hour", "day_of_month", "day_of_week")
    }
    local = after.astimezone(zone).replace(tzinfo=None, second=0) - timedelta(days=1)
    last = after + timedelta(days=3)
    found = []
    for _ in range(5 * 24 * 60):
        local += MINUTE
        fits = (
            local.minute in numbers["minute"]
            and local.hour in numbers["hour"]
            and local.day in numbers["day_of_month"]
            and (local.weekday() + 1) % 7 in numbers["day_of_week"]
        )
        if not fits:
            continue
        moment = local.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != local:
            # Nobody ever saw that time: the first minute that somebody saw after it is meant.
            while (
                moment.astimezone(zone).utcoffset()
                == (moment - MINUTE).astimezone(zone).utcoffset()
            ):
                moment -= MINUTE
        if after < moment <= last and moment not in found:
            found.append(moment)
    return found


@settings(max_examples=150, deadline=None)
@given(CALENDARS, st.sampled_from(ZONES), DAYS, st.integers(0, 24 * 60 - 1))
def test_a_calendar_agrees_with_looking_at_the_clock(
    calendar: ScheduleCalendarSpec, zone: str, day: str, minute: int
) -> None:
    after = at(f"{day}T00:00") + minute * MINUTE

    spec = ScheduleSpec(calendars=[calendar], time_zone_name=zone)
    found = list(Times(spec).between(after, after + timedelta(days=3)))

    assert found == by_looking(calendar, ZoneInfo(zone), after)


@given(st.integers(1, 100_000), st.integers(0, 99_999), st.integers(0, 10**9))
def test_intervals_are_even_and_none_is_left_out(every: int, offset: int, after: int) -> None:
    spec = ScheduleSpec(
        intervals=[
            ScheduleIntervalSpec(timedelta(seconds=every), timedelta(seconds=offset % every))
        ]
    )
    moment = datetime.fromtimestamp(after, UTC)

    (found,) = some(spec, moment, 1)

    seconds = int(found.timestamp())
    assert 0 < seconds - after <= every
    assert (seconds - offset % every) % every == 0


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ScheduleSpec(), "says no time"),
        (ScheduleSpec(cron_expressions=["soon"]), r"cron_expressions\[0\]: .*wrong number"),
        (ScheduleSpec(cron_expressions=["@daily"], time_zone_name="Mars"), "no time zone 'Mars'"),
        (
            ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(24)])]),
            r"calendars\[0\].hour has 24 to 24: give 0 to 23",
        ),
        (
            ScheduleSpec(cron_expressions=["@daily"], skip=[ScheduleCalendarSpec(minute=[])]),
            r"skip\[0\].minute is empty",
        ),
        (ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(0))]), "at least a second"),
        (
            ScheduleSpec(intervals=[ScheduleIntervalSpec(MINUTE, MINUTE)]),
            "give less than every",
        ),
        (
            ScheduleSpec(
                cron_expressions=["@daily"], start_at=at("2026-01-01").replace(tzinfo=None)
            ),
            "start_at has no time zone",
        ),
        (ScheduleSpec(cron_expressions=["@daily"], jitter=-MINUTE), "jitter is"),
    ],
)
def test_a_spec_that_cannot_be_followed_is_refused_with_the_field(
    spec: ScheduleSpec, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        check_spec(spec)
