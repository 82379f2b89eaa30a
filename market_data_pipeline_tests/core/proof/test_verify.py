"""A store that is whole proves itself; whatever is damaged, lacking or unexplained is named with its day."""

import hashlib
import json
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.findings import (
    COVERED,
    JOINED,
    KEEPS_SCHEMA,
    MATCHES_MANIFEST,
    PLAUSIBLE,
    Severity,
)
from market_data_pipeline.core.klines.flaws import Flaw
from market_data_pipeline.core.klines.table import column, open_times
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.prove import NewDays, prove
from market_data_pipeline.core.proof.repair import repair
from market_data_pipeline.core.proof.verify import verify
from market_data_pipeline.core.store.chunks.encoding import Footer, encode
from market_data_pipeline.core.store.chunks.files import new_chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, changed, day, klines_at, klines_of, span, whole

WINDOW = span("2024-02-28", "2024-03-03")
KEYS = ["2024-02-28", "2024-02-29", "2024-03-01", "2024-03-02"]
DAY = day("2024-02-29")
HALT = span("2024-02-29T04:00Z", "2024-02-29T05:30Z")


def load(into: DatasetStore, source: FakeSource, window: Span = WINDOW) -> None:
    list(backfill(into, source, window))


@pytest.fixture
def loaded(made) -> DatasetStore:
    """Four days over the end of a month, with an outage."""
    load(made, FakeSource(missing=[HALT]))
    return made


def opened(root) -> DatasetStore:
    store = Store(root)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def found(store: DatasetStore, window: Span | None = None) -> list[tuple[str, str]]:
    return [(finding.check, finding.day) for finding in verify(store, window).findings]


def put_as_if_written(store: DatasetStore, content: bytes, **said: object) -> None:
    """The content as the day's chunk, and a manifest that vouches for it: what only someone else's program does."""
    store.chunk_path(DAY).write_bytes(content)
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    [entry] = [chunk for chunk in manifest["chunks"] if chunk["day"] == DAY.key]
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} | said
    path.write_text(json.dumps(manifest))


def chunk_of(klines: pa.Table, flaws: tuple[Flaw, ...] = ()) -> bytes:
    return encode(klines, Footer("spot", "BTC/USDT", "UTC", DAY.key, "rest", (), flaws))


def test_a_whole_store_proves_itself(loaded):
    result = verify(loaded)
    assert result.ok
    assert (result.days, result.rows) == (4, 4 * 1440 - 90)
    assert result.size_bytes == sum(loaded.chunk_path(day(key)).stat().st_size for key in KEYS)
    assert result.absences == [Absence(Kind.OUTAGE, HALT, ("fake: none of them",))]


def test_a_proof_keeps_nothing_of_the_chunks_that_were_read_for_it(loaded):
    days = [day(key) for key in KEYS]
    new_days = NewDays(loaded)
    for first_or_last in (days[0], days[-1]):  # those between them are read from the disk
        new_days.add(first_or_last, loaded.read(first_or_last).klines)
    for proof in (prove(loaded), new_days.proof()):
        assert (proof.verification.days, proof.verification.read) == (4, {})


def test_a_store_proves_itself_to_another_process(tmp_path, loaded):
    assert verify(opened(tmp_path)).ok


def test_a_dataset_of_which_nothing_was_asked_proves_itself(made):
    result = verify(made)
    assert (result.ok, result.days) == (True, 0)


def test_a_deleted_chunk_and_a_flipped_byte_are_both_named(loaded):
    loaded.chunk_path(day("2024-03-01")).unlink()
    path = loaded.chunk_path(DAY)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = verify(loaded)
    assert not result.ok
    assert [(finding.check, finding.day) for finding in result.findings] == [
        (MATCHES_MANIFEST, "2024-02-29"),
        (MATCHES_MANIFEST, "2024-03-01"),
    ]
    assert "is missing" in result.findings[1].problem
    assert result.bad_days == [DAY, day("2024-03-01")]
    assert len(result.of(MATCHES_MANIFEST)) == 2
    assert result.of(COVERED) == []


def test_days_that_begin_or_end_at_another_minute_by_new_rules_of_the_zone_are_repaired(made):
    """A country has changed its rules, and the days were loaded before this machine knew them."""
    first, second = day("2024-03-01"), day("2024-03-02")
    load(made, FakeSource())
    hour_ms = 60 * MINUTE_MS
    by_old_rules = replace(first, end_ms=first.end_ms + hour_ms), replace(second, start_ms=second.start_ms + hour_ms)
    (made.folder / "manifest.json").unlink()
    for each in by_old_rules:
        made.chunk_path(each).unlink()
    made = opened(made.folder.parents[2])
    for each in by_old_rules:
        klines = klines_at(range(each.start_ms, each.end_ms, MINUTE_MS))
        made.publish(new_chunk(made.dataset, each, klines, [], source="rest"))
    made.flush()
    proof = prove(made)
    assert [of.key for of in proof.bad_days] == [first.key, second.key]
    options = {"source": "auto", "on_load": lambda _: None, "on_day": lambda _: None}
    repaired = list(repair(made, proof, lambda _: FakeSource(), **options))
    assert [(one.what, one.after) for one in repaired] == [(each.key, "1,440 klines") for each in (first, second)]
    assert prove(opened(made.folder.parents[2])).ok


def test_a_day_that_was_loaded_to_its_end_since_it_was_proved_is_left_by_a_repair(made):
    source = FakeSource(now="2024-03-01T12:00Z", last="2024-02-29T12:00Z")
    load(made, source)
    proof = prove(made)
    assert proof.ended == [DAY]
    source.last, source.now = None, "2024-03-04T00:00Z"
    load(made, source)
    repaired = repair(
        made, proof, lambda name: source, source="auto", on_load=lambda load: None, on_day=lambda result: None
    )
    assert list(repaired) == []


@pytest.mark.parametrize("requested", [KEYS[1], KEYS[3]])
def test_adjoining_bad_days_are_all_repaired_though_a_new_dataset_file_knows_of_one_day_alone(
    tmp_path, loaded, requested
):
    (loaded.folder / "dataset.json").unlink()
    source = FakeSource(missing=[HALT])
    again = Store(tmp_path).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=date(2024, 3, 1))
    load(again, source, whole(day(requested)))
    for key in KEYS[:3]:
        again.chunk_path(day(key)).write_bytes(b"garbage")
    repaired = repair(
        again, prove(again), lambda name: source, source="rest", on_load=lambda load: None, on_day=lambda result: None
    )
    assert [(one.what, one.ok) for one in repaired] == [(key, True) for key in KEYS[:3]]
    assert verify(opened(tmp_path)).ok


@pytest.mark.parametrize(
    "content", [b"", b"garbage", chunk_of(klines_of(whole(DAY)))], ids=["empty", "garbage", "other"]
)
def test_a_replaced_file_is_named(loaded, content):
    loaded.chunk_path(DAY).write_bytes(content)
    assert found(loaded) == [(MATCHES_MANIFEST, DAY.key)]


def test_what_is_found_is_mended_by_loading_those_days_again(loaded):
    loaded.chunk_path(day("2024-03-01")).unlink()
    loaded.chunk_path(DAY).write_bytes(b"garbage")
    for bad in verify(loaded).bad_days:
        load(loaded, FakeSource(missing=[HALT]), whole(bad))
    assert verify(loaded).ok


def test_a_manifest_that_says_something_else_of_a_good_file_is_named(tmp_path, loaded):
    path = loaded.folder / "manifest.json"
    path.write_text(path.read_text().replace('"rows":1350', '"rows":1349'))
    [finding] = verify(opened(tmp_path)).findings
    assert (finding.check, finding.day) == (MATCHES_MANIFEST, DAY.key)
    assert "manifest" in finding.problem


def test_days_that_were_asked_for_and_have_no_chunk_are_named(loaded):
    loaded.note_requested(span("2024-03-03", "2024-03-04T00:01Z"), date(2024, 3, 1))
    result = verify(loaded)
    assert [finding.day for finding in result.of(JOINED)] == ["2024-03-03", "2024-03-04"]
    assert result.findings[1].problem == "no chunk for 1 requested minute"


def test_unexplained_minutes_are_named(made):
    load(made, FakeSource(dropped=[HALT], drops_every_time=True))
    [finding] = verify(made).findings
    assert (finding.check, finding.day) == (COVERED, DAY.key)
    assert "minutes from 2024-02-29T04:" in finding.problem
    assert finding.problem.endswith("(no source was asked)")


def test_what_was_said_about_unexplained_minutes_is_shown(made):
    load(made, FakeSource(missing=[HALT], unproven=True))
    [finding] = verify(made).findings
    assert finding.problem == "unexplained: 90 minutes from 2024-02-29T04:00Z (fake: none of them)"


def test_what_is_hard_to_believe_is_a_finding_on_its_day_and_no_failure(made):
    load(made, FakeSource())
    klines = made.read(DAY).klines
    times = open_times(klines)
    volume = np.where((times >= times[100]) & (times < times[130]), 50.0, column(klines, "volume"))
    doubtful = klines.set_column(5, klines.schema.field("volume"), [volume])
    made.publish(new_chunk(made.dataset, DAY, doubtful, [], source="rest"))
    result = verify(made)
    assert result.ok
    [finding] = result.findings
    assert (finding.check, finding.day, finding.severity) == (PLAUSIBLE, DAY.key, Severity.WARNING)
    assert result.bad_days == []


def test_minutes_that_nobody_asked_for_are_no_fault(made):
    load(made, FakeSource(), span("2024-02-28T06:00Z", "2024-02-29T18:00Z"))
    result = verify(made)
    assert result.ok
    assert {absence.kind for absence in result.absences} == {Kind.NOT_REQUESTED}


def test_minutes_that_were_open_are_no_fault_until_they_are_asked_for_again_and_not_loaded(made):
    load(made, FakeSource(now="2024-02-29T12:00Z"), whole(DAY))
    assert verify(made).ok
    made.note_requested(whole(DAY), date(2024, 2, 1))
    assert found(made) == [(COVERED, DAY.key)]
    load(made, FakeSource(now="2024-03-02"), whole(DAY))
    assert verify(made).ok


def test_days_before_the_first_kline_are_no_fault(made):
    load(made, FakeSource(first="2024-02-29T12:00Z", last="2024-03-01T12:00Z"))
    result = verify(made)
    assert result.ok
    assert result.days == 2


def test_only_the_days_that_a_window_touches_are_read(loaded):
    loaded.chunk_path(DAY).unlink()
    loaded.note_requested(span("2024-03-03", "2024-03-04"), date(2024, 2, 1))
    assert found(loaded, span("2024-03-01", "2024-03-03")) == []
    assert verify(loaded, span("2024-03-01", "2024-03-03")).days == 2
    assert found(loaded, span("2024-02-29T23:59Z", "2024-03-01T00:01Z")) == [(MATCHES_MANIFEST, DAY.key)]
    assert found(loaded, span("2024-03-03", "2024-03-09")) == [(JOINED, "2024-03-03")]
    assert verify(loaded, span("2024-06-01", "2024-06-02")).days == 0


@pytest.mark.parametrize("shift_days", [0, 2, -7], ids=["its own", "a listed day's", "no listed day's"])
def test_a_chunk_with_broken_klines_of_any_day_is_named_by_its_own(tmp_path, loaded, shift_days):
    shifted = Span(DAY.start_ms + shift_days * 1440 * MINUTE_MS, DAY.end_ms + shift_days * 1440 * MINUTE_MS)
    klines = klines_of(shifted)
    negative = klines.set_column(5, klines.schema.field("volume"), [-1 - column(klines, "volume")])
    put_as_if_written(
        loaded, chunk_of(negative), rows=1440, absences=[],
        first_open_time=shifted.start_ms, last_open_time=shifted.end_ms - MINUTE_MS,
    )  # fmt: skip
    findings = found(opened(tmp_path))
    assert (KEEPS_SCHEMA, DAY.key) in findings
    assert {key for _, key in findings} == {DAY.key}


def test_a_flaw_that_the_footer_names_is_a_warning_with_its_minute(made):
    load(made, FakeSource())
    klines = changed(changed(made.read(DAY).klines, "trades", 61, -1), "volume", 700, -3.5)
    made.publish(new_chunk(made.dataset, DAY, klines, [], source="live+rest"))
    result = verify(made)
    assert result.ok
    assert {finding.severity for finding in result.findings} == {Severity.WARNING}
    assert [(finding.check, finding.day) for finding in result.findings] == [(PLAUSIBLE, DAY.key)] * 3
    assert "2024-02-29T01:01Z trades is negative: -1 (rest)" in result.findings[0].problem
    assert "2024-02-29T11:40Z taker_base_volume is above volume" in result.findings[1].problem
    assert "2024-02-29T11:40Z volume is negative: -3.5 (rest)" in result.findings[2].problem


@pytest.mark.parametrize(
    ("trades", "named", "problem"),
    [
        (-1, (), "trades is negative: -1, and no flaw says so"),
        (-1, (-2,), "named as a flaw and not one in the klines"),
        (7, (-1,), "named as a flaw and not one in the klines"),
    ],
)
def test_flaws_and_klines_that_do_not_agree_are_errors(tmp_path, loaded, trades, named, problem):
    klines = changed(klines_of(whole(DAY)), "trades", 61, trades)
    minute = DAY.start_ms + 61 * MINUTE_MS
    flaws = tuple(Flaw(minute, "trades is negative", value, ("rest",)) for value in named)
    said = [{"rule": f.rule, "sources": ["rest"], "open_times": [minute], "values": [str(f.value)]} for f in flaws]
    put_as_if_written(
        loaded, chunk_of(klines, flaws), rows=1440, absences=[], flaws=said,
        first_open_time=DAY.start_ms, last_open_time=DAY.end_ms - MINUTE_MS,
    )  # fmt: skip
    result = verify(opened(tmp_path))
    assert {(finding.check, finding.day) for finding in result.errors} == {(KEEPS_SCHEMA, DAY.key)}
    assert any(problem in finding.problem for finding in result.errors)


def test_a_chunk_that_hides_an_absence_is_named_though_its_manifest_vouches_for_it(tmp_path, loaded):
    put_as_if_written(loaded, chunk_of(klines_of(whole(DAY), without=[HALT])), absences=[])
    [finding] = verify(opened(tmp_path)).findings
    assert (finding.check, finding.day) == (COVERED, DAY.key)
    assert finding.problem == "absent without a reason: 90 minutes from 2024-02-29T04:00Z"


def test_a_chunk_that_another_process_replaced_meanwhile_is_no_damage(tmp_path, made):
    """Live mode replaces today's chunk each minute; whoever verifies at that moment must not cry wolf."""
    load(made, FakeSource(now="2024-03-02T12:00Z"))
    reader = opened(tmp_path)
    load(made, FakeSource(now="2024-03-02T12:05Z"))
    assert found(reader) == []


def test_a_window_may_be_open_at_either_end(loaded):
    every = verify(loaded).days
    assert verify(loaded, Span(0, 1 << 62)).days == every
