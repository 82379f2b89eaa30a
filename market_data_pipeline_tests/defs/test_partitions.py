"""Dagster's daily partitions have the keys of the dataset's days, and their start and end to the millisecond."""

import itertools
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.klines.days import Day, day_at, day_of, days_between, parse_zone, zone_names
from market_data_pipeline.defs.partitions import partitions_of, span_of
from market_data_pipeline.instance.names import range_tags

START = date(2018, 1, 1)
NOW = datetime(2026, 11, 20, 12, 34, tzinfo=UTC)

# Zones with a clock change at midnight, of other than an hour, or that followed no rule; and some plain ones.
ODD_ZONES = {
    "Africa/Cairo": "skips midnight, and skipped years of summer time",
    "Africa/Casablanca": "goes back for Ramadan",
    "Africa/Sao_Tome": "changed its offset on New Year",
    "America/Asuncion": "skipped midnight, then stayed on summer time",
    "America/Havana": "skips midnight, and has it twice",
    "America/Nuuk": "changes on Saturday evening",
    "America/Santiago": "skips midnight at its end of the day",
    "America/Sao_Paulo": "skipped midnight until 2018",
    "America/Scoresbysund": "moved to another offset at a clock change",
    "America/St_Johns": "half an hour off",
    "Antarctica/Casey": "jumped three hours back over midnight",
    "Antarctica/Troll": "changes by two hours",
    "Antarctica/Vostok": "went back from two to midnight",
    "Asia/Amman": "skipped midnight, then stayed on summer time",
    "Asia/Beirut": "skips midnight",
    "Asia/Gaza": "changes by the lunar calendar",
    "Asia/Kathmandu": "a quarter of an hour off",
    "Asia/Pyongyang": "jumped from half past eleven to midnight",
    "Asia/Tehran": "skipped midnight, half an hour off",
    "Atlantic/Azores": "skips midnight, and has it twice",
    "Australia/Lord_Howe": "changes by half an hour",
    "Europe/Zurich": "the plain case",
    "Pacific/Chatham": "three quarters of an hour off",
    "Pacific/Kiritimati": "the highest offset",
    "UTC": "no change at all",
}
QUARTER_HOURS = range(-12 * 60, 14 * 60 + 1, 15)
ODD_MINUTES = (-719, -61, -59, -1, 1, 7, 29, 59, 61, 333, 839)


def dataset_in(zone: str, start: date = START) -> Dataset:
    return Dataset(Market.FUTURES, "NEAR/USDT", parse_zone(zone), start)


def own_days(dataset: Dataset, now: datetime = NOW) -> list[Day]:
    """The days from the dataset's first to the one of `now`."""
    return days_between(dataset.zone, dataset.first_day.start_ms, round(now.timestamp()) * 1000 + 1)


def window_of(partitions: dg.DailyPartitionsDefinition, key: str) -> tuple[int, int]:
    window = partitions.time_window_for_partition_key(key)
    return round(window.start.timestamp() * 1000), round(window.end.timestamp() * 1000)


def different_windows(partitions: dg.DailyPartitionsDefinition, days: Iterable[Day]) -> list[str]:
    return [day.key for day in days if window_of(partitions, day.key) != (day.start_ms, day.end_ms)]


def around_clock_changes(days: list[Day]) -> list[Day]:
    """The first and the last day, each day that does not have 24 hours, and the days before and after it."""
    odd = {at for at, day in enumerate(days) if day.minutes != 24 * 60}
    near = {at + by for at, by in itertools.product(odd, (-1, 0, 1))} | {0, len(days) - 1}
    return [days[at] for at in sorted(near) if 0 <= at < len(days)]


def text_of(offset_minutes: int) -> str:
    hours, minutes = divmod(abs(offset_minutes), 60)
    return f"{'-' if offset_minutes < 0 else '+'}{hours:02d}:{minutes:02d}"


@pytest.mark.parametrize("zone", ODD_ZONES)
def test_partitions_of_an_odd_zone_are_its_days(zone):
    dataset = dataset_in(zone)
    partitions, days = partitions_of(dataset), own_days(dataset)
    assert partitions.get_partition_keys(NOW) == [day.key for day in days]
    assert different_windows(partitions, around_clock_changes(days)) == []


def test_the_odd_zones_have_days_of_every_odd_length():
    lengths = {day.minutes for zone in ODD_ZONES for day in own_days(dataset_in(zone))}
    assert lengths >= {24 * 60 + by for by in (-120, -60, -30, 0, 30, 60, 120, 180)}


@pytest.mark.slow
@pytest.mark.parametrize("initial", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
def test_partitions_of_every_zone_are_its_days(initial):
    different = {}
    for zone in sorted(name for name in zone_names() if name.upper().startswith(initial)):
        dataset = dataset_in(zone, date(2020, 1, 1))
        partitions, days = partitions_of(dataset), own_days(dataset)
        if partitions.get_partition_keys(NOW) != [day.key for day in days]:
            different[zone] = ["keys"]
        elif wrong := different_windows(partitions, around_clock_changes(days)):
            different[zone] = wrong
    assert different == {}


@pytest.mark.parametrize("offset_minutes", [*QUARTER_HOURS, *ODD_MINUTES])
def test_partitions_of_a_fixed_offset_are_its_days(offset_minutes):
    dataset = dataset_in(text_of(offset_minutes), date(2026, 10, 20))
    partitions, days = partitions_of(dataset), own_days(dataset)
    assert partitions.get_partition_keys(NOW) == [day.key for day in days]
    assert different_windows(partitions, days) == []


@pytest.mark.parametrize("zone", ["UTC", "Europe/Zurich", "America/Havana", "+05:30", "-00:30", "+14:00", "-12:00"])
@pytest.mark.parametrize("second", [-1, 0, 1])
def test_the_last_partition_is_today_from_its_first_second_on(zone, second):
    dataset = dataset_in(zone, date(2026, 10, 20))
    midnight_ms = day_of(dataset.zone, date(2026, 11, 2)).start_ms
    now = datetime.fromtimestamp(midnight_ms / 1000, UTC) + timedelta(seconds=second)
    today = day_at(dataset.zone, midnight_ms + second * 1000).key
    assert partitions_of(dataset).get_partition_keys(now)[-1] == today
    assert today == ("2026-11-01" if second < 0 else "2026-11-02")


def test_a_dataset_that_starts_today_has_today():
    start = NOW.date()
    assert partitions_of(dataset_in("UTC", start)).get_partition_keys(NOW) == [start.isoformat()]


def test_a_range_of_days_is_tagged_as_dagster_reads_it():
    assert range_tags("2023-10-28", "2023-10-30") == {
        "dagster/asset_partition_range_start": "2023-10-28",
        "dagster/asset_partition_range_end": "2023-10-30",
    }


def test_the_span_of_a_run_reaches_from_its_first_days_start_to_its_last_days_end():
    dataset = dataset_in("Europe/Zurich")
    span = span_of(dataset, ["2023-10-30", "2023-10-28", "2023-10-29"])
    assert span == Span(dataset.day("2023-10-28").start_ms, dataset.day("2023-10-30").end_ms)
    assert span.minutes == (24 + 25 + 24) * 60
