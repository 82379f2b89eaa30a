"""Days tile time in every zone, and are the days that Dagster means; what people type is read or refused in one line.

Fixed offsets against Dagster's partitions are tested where the partitions are made (`defs`).
"""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.days import (
    MINUTE_MS,
    Day,
    day_at,
    day_of,
    days_between,
    iso,
    parse_instant,
    parse_zone,
    zone_names,
)

UTC_ZONE = parse_zone("UTC")
ZURICH = parse_zone("Europe/Zurich")
NAMES = sorted(zone_names())
FIRST, LAST = date(2017, 1, 1), date(2032, 12, 31)

offsets = st.integers(-12 * 60, 14 * 60).map(
    lambda minutes: f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
)
zones = st.one_of(st.sampled_from(NAMES), offsets).map(parse_zone)
dates = st.dates(FIRST, LAST)


@cache
def clock_changes(name: str) -> tuple[date, ...]:
    """The dates around which the zone's offset changes, found by looking every third day."""
    zone, step = ZoneInfo(name), timedelta(days=3)
    at, changed, before = datetime(2016, 12, 31, tzinfo=UTC), [], None
    while at.date() <= LAST:
        local = at.astimezone(zone)
        if before is not None and local.utcoffset() != before:
            changed += [local.date() + timedelta(days=days) for days in range(-4, 2)]
        before, at = local.utcoffset(), at + step
    return tuple(sorted(set(changed)))


def dagster_windows(name: str, on: list[date]) -> dict[str, tuple[int, int]]:
    partitions = dg.DailyPartitionsDefinition(FIRST.isoformat(), timezone=name)
    windows = {day.isoformat(): partitions.time_window_for_partition_key(day.isoformat()) for day in on}
    return {
        key: (round(window.start.timestamp()) * 1000, round(window.end.timestamp()) * 1000)
        for key, window in windows.items()
    }


def all_days(name: str) -> list[Day]:
    zone = parse_zone(name)
    return days_between(zone, day_of(zone, FIRST).start_ms, day_of(zone, LAST).end_ms)


def our_windows(name: str, on: list[date]) -> dict[str, tuple[int, int]]:
    zone = parse_zone(name)
    return {day.isoformat(): (day_of(zone, day).start_ms, day_of(zone, day).end_ms) for day in on}


@given(zones, dates)
def test_a_day_holds_its_first_and_its_last_millisecond_and_the_next_day_begins_where_it_ends(zone, on):
    day = day_of(zone, on)
    assert day_at(zone, day.start_ms) == day == day_at(zone, day.end_ms - 1)
    assert day_at(zone, day.end_ms) == day_of(zone, on + timedelta(days=1))
    assert day.start_ms % MINUTE_MS == 0


@given(zones, dates, st.integers(0, 1440 * MINUTE_MS - 1))
def test_every_instant_falls_on_the_day_of_its_local_date(zone, on, after_ms):
    instant_ms = day_of(UTC_ZONE, on).start_ms + after_ms
    day = day_at(zone, instant_ms)
    assert day.start_ms <= instant_ms < day.end_ms
    assert day.date == datetime.fromtimestamp(instant_ms // 1000, zone.tzinfo).date()


@given(zones, dates, st.integers(0, 40), st.integers(0, 1439), st.integers(0, 1439))
def test_days_between_are_all_the_days_that_a_window_touches(zone, on, count, from_start, from_end):
    start_ms = day_of(zone, on).start_ms + from_start * MINUTE_MS
    end_ms = day_of(zone, on + timedelta(days=count)).end_ms - from_end * MINUTE_MS
    days = days_between(zone, start_ms, end_ms)
    assert all(day.start_ms < end_ms and day.end_ms > start_ms for day in days)
    assert all(earlier.end_ms == later.start_ms for earlier, later in pairwise(days))
    if start_ms < end_ms:
        assert days[0] == day_at(zone, start_ms)
        assert days[-1] == day_at(zone, end_ms - 1)


def test_a_window_that_ends_at_midnight_does_not_touch_the_next_day():
    day = day_of(ZURICH, date(2024, 3, 31))
    assert days_between(ZURICH, day.start_ms, day.end_ms) == [day]
    assert days_between(ZURICH, day.start_ms, day.start_ms) == []


def test_in_every_zone_days_tile_time_around_every_change_of_the_clocks():
    for name in NAMES:
        zone = parse_zone(name)
        for on in clock_changes(name):
            day = day_of(zone, on)
            assert day_at(zone, day.start_ms) == day == day_at(zone, day.end_ms - 1), (name, on)
            assert day.end_ms == day_of(zone, on + timedelta(days=1)).start_ms, (name, on)
            assert datetime.fromtimestamp(day.start_ms / 1000, zone.tzinfo).date() == on, (name, on)


@pytest.mark.slow
def test_in_every_kind_of_zone_the_days_of_sixteen_years_tile_time_and_are_dagsters():
    kinds = {tuple(all_days(name)): name for name in NAMES}
    assert len(kinds) > 50
    for days, name in kinds.items():
        zone = parse_zone(name)
        assert [day.date for day in days] == [FIRST + timedelta(days=number) for number in range(len(days))], name
        assert days[-1] == day_of(zone, LAST), name
        assert all(day_at(zone, day.start_ms) == day == day_at(zone, day.end_ms - 1) for day in days), name
        windows = dagster_windows(name, [day.date for day in days])
        assert windows == {day.key: (day.start_ms, day.end_ms) for day in days}, name


@pytest.mark.parametrize(
    ("zone", "key", "minutes"),
    [
        ("UTC", "2023-10-29", 1440),
        ("Europe/Zurich", "2023-10-28", 1440),
        ("Europe/Zurich", "2023-10-29", 1500),
        ("Europe/Zurich", "2024-03-31", 1380),
        ("Australia/Lord_Howe", "2023-10-01", 1410),
        ("Australia/Lord_Howe", "2024-04-07", 1470),
        ("America/Sao_Paulo", "2018-11-04", 1380),
        ("America/Sao_Paulo", "2019-02-16", 1500),
        ("America/Havana", "2024-03-10", 1380),
        ("America/Havana", "2024-11-03", 1500),
        ("Asia/Beirut", "2024-03-31", 1380),
        ("Asia/Beirut", "2024-10-26", 1500),
        ("Africa/Cairo", "2024-04-26", 1380),
        ("Africa/Cairo", "2024-10-31", 1500),
        ("Atlantic/Azores", "2024-03-31", 1380),
        ("Antarctica/Troll", "2024-03-31", 1320),
        ("Asia/Pyongyang", "2018-05-04", 1410),
        ("+05:30", "2023-10-29", 1440),
    ],
)
def test_a_day_on_which_the_clocks_change_has_as_many_minutes_as_really_pass(zone, key, minutes):
    day = day_of(parse_zone(zone), date.fromisoformat(key))
    assert day.minutes == minutes
    assert day.key == key


@pytest.mark.parametrize(
    ("zone", "key", "start"),
    [
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00-02:00"),
        ("America/Havana", "2024-03-10", "2024-03-10T01:00-04:00"),
        ("Asia/Beirut", "2024-03-31", "2024-03-31T01:00+03:00"),
        ("Africa/Cairo", "2024-04-26", "2024-04-26T01:00+03:00"),
    ],
)
def test_a_day_without_midnight_starts_at_one(zone, key, start):
    assert day_of(parse_zone(zone), date.fromisoformat(key)).start_ms == parse_instant(start, UTC_ZONE)


def test_a_day_with_two_midnights_starts_at_the_first():
    day = day_of(parse_zone("America/Havana"), date(2024, 11, 3))
    assert day.start_ms == parse_instant("2024-11-03T00:00-04:00", UTC_ZONE)


def test_in_every_zone_the_days_around_every_change_of_the_clocks_are_dagsters():
    ordinary = [date(year, month, 11) for year in (2017, 2020, 2026, 2032) for month in (1, 7)]
    for name in NAMES:
        on = [day for day in clock_changes(name) if FIRST <= day <= LAST] + ordinary
        assert our_windows(name, on) == dagster_windows(name, on), name


@given(offsets)
def test_a_fixed_offset_has_one_name_and_only_days_of_1440_minutes(text):
    zone = parse_zone(text)
    assert parse_zone(zone.name) == zone
    assert zone.fixed_offset_minutes * 60 == zone.tzinfo.utcoffset(None).total_seconds()
    assert day_of(zone, date(2024, 3, 31)).minutes == 1440
    local_midnight_ms = day_of(UTC_ZONE, date(2024, 3, 31)).start_ms - zone.fixed_offset_minutes * MINUTE_MS
    assert day_of(zone, date(2024, 3, 31)).start_ms == local_midnight_ms


@pytest.mark.parametrize(
    ("text", "name"),
    [("utc", "UTC"), ("Z", "UTC"), (" Europe/Zurich ", "Europe/Zurich"), ("+5:30", "+05:30"), ("-0800", "-08:00")],
)
def test_a_zone_is_known_by_one_name_however_it_was_written(text, name):
    assert parse_zone(text).name == name


@pytest.mark.parametrize("name", ["UTC", "Europe/Zurich", "Etc/GMT-2"])
def test_a_named_zone_is_no_fixed_offset(name):
    assert parse_zone(name).fixed_offset_minutes is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("europe/zurich", "did you mean Europe/Zurich"),
        ("Europe/Zuerich", "did you mean Europe/Zurich"),
        ("nowhere", "give an IANA name"),
        ("", "give an IANA name"),
        ("..", "give an IANA name"),
        ("/etc/passwd", "give an IANA name"),
        ("a\0b", "give an IANA name"),
        ("Europe", "Europe/"),
        ("localtime", "no such time zone"),  # Debian has it: the zone that the machine has now
        ("Factory", "no such time zone"),
        ("+14:01", "between -12:00 and +14:00"),
        ("-12:01", "between -12:00 and +14:00"),
        ("+05:60", "between -12:00 and +14:00"),
    ],
)
def test_an_unknown_zone_is_refused_in_one_line_that_says_what_to_give(text, hint):
    with pytest.raises(UsageError) as refused:
        parse_zone(text)
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-03-31", "2024-03-30T23:00Z"),
        ("2024-04-01", "2024-03-31T22:00Z"),
        ("2024-03-31T12:00", "2024-03-31T10:00Z"),
        ("2024-03-31 12:00", "2024-03-31T10:00Z"),
        ("2024-03-31T12:00Z", "2024-03-31T12:00Z"),
        ("2024-03-31T12:00+05:30", "2024-03-31T06:30Z"),
        ("2024-03-31T12:00:00.001Z", "2024-03-31T12:01Z"),
        ("2024-03-31T12:00:59Z", "2024-03-31T12:01Z"),
    ],
)
def test_what_people_write_names_an_instant_rounded_up_to_the_minute(text, instant):
    assert iso(parse_instant(text, ZURICH)) == instant


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2024", "2024-02-30", "2024-03-31T25:00", "9999-12-31", "1701011200000"]
    + ["9999-12-30", "9999-12-31T12:00Z", "0001-01-01", "0001-01-01T12:00Z"],
)
def test_what_names_no_instant_is_refused_in_one_line_that_shows_how(text):
    with pytest.raises(UsageError, match="write 2024-03-31") as refused:
        parse_instant(text, ZURICH)
    assert "\n" not in str(refused.value)


@given(dates, zones)
def test_a_date_names_the_start_of_its_local_day(on, zone):
    assert parse_instant(on.isoformat(), zone) == day_of(zone, on).start_ms


@given(st.integers(-60_000_000_000, 40_000_000_000).map(lambda seconds: seconds * 1000))
def test_iso_names_the_instant_to_the_second(instant_ms):
    assert round(datetime.fromisoformat(iso(instant_ms)).timestamp()) * 1000 == instant_ms


def test_a_day_says_its_date_and_its_minutes():
    assert Day("2024-03-31", 0, 1440 * MINUTE_MS).date == date(2024, 3, 31)
    assert Day("2024-03-31", 0, 1440 * MINUTE_MS).minutes == 1440
