"""No value of a stored minute is replaced without a line that says so, whoever writes and wherever it is killed."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data_pipeline.core.errors import StoreError
from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import FIELDS, column, open_times
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.chunks.encoding import Footer
from market_data_pipeline.core.store.chunks.files import Chunk, new_chunk
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.manifest import Entry, State
from market_data_pipeline.core.store.revisions import Change, Revision, append, read, revision_between, withdraw
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.status import status_of
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import FakeSource, at, day, klines_of, span, whole

FIRST = date(2024, 3, 1)
WINDOW = span("2024-03-01", "2024-03-20")
DAY = day("2024-03-05")
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")
NOON = at("2024-03-05T12:00Z")
SOME = {NOON: {"volume": 7.0}, NOON + MINUTE_MS: {"volume": 8.0, "trades": 5}, at("2024-03-05T18:00Z"): {"trades": 6}}
OTHERS = {NOON: {"volume": 9.0}}
Values = Mapping[int, Mapping[str, float]]


@pytest.fixture
def dataset_store(made) -> DatasetStore:
    made.note_requested(WINDOW, FIRST)
    return made


def opened(root: Path) -> DatasetStore:
    """The dataset as another process would open it."""
    store = Store(root, manifest_interval_s=3600)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def having(klines: pa.Table, values: Values) -> pa.Table:
    """The klines with these values in these minutes."""
    rows = {minute: row for row, minute in enumerate(open_times(klines).tolist())}
    columns = {name: column(klines, name).copy() for name in FIELDS}
    for minute, said in values.items():
        for name, value in said.items():
            columns[name][rows[minute]] = value
    return pa.Table.from_pydict(columns, schema=klines.schema)


def publish(
    into: DatasetStore,
    values: Values | None = None,
    *,
    key: str = DAY.key,
    without: Iterable[Span] = (),
    absent: Kind = Kind.OUTAGE,
    evidence: tuple[str, ...] = (),
    source: str = "rest",
    row_group_rows: int | None = None,
) -> Entry:
    on = into.dataset.day(key)
    klines = having(klines_of(whole(on), without=without), values or {})
    absences = [Absence(absent, gap, evidence) for gap in without]
    return into.publish(new_chunk(into.dataset, on, klines, absences, source=source, row_group_rows=row_group_rows))


def value(klines: pa.Table, minute: int, name: str) -> float:
    return column(klines, name)[int(np.searchsorted(open_times(klines), minute))].item()


def ledger(of: DatasetStore) -> Path:
    return of.folder / "revisions.jsonl"


# --- what is a revision


def test_a_revised_minute_is_noted_with_what_was_and_what_is(dataset_store):
    before = datetime.now(UTC).replace(microsecond=0)
    old, new = publish(dataset_store), publish(dataset_store, SOME, source="archive")
    [noted] = dataset_store.revisions()
    truth = klines_of(whole(DAY))
    assert noted == Revision(
        day=DAY.key,
        at=noted.at,
        old_sha256=old.sha256,
        new_sha256=new.sha256,
        old_source="rest",
        new_source="archive",
        minutes=(Span(NOON, NOON + 2 * MINUTE_MS), span("2024-03-05T18:00Z", "2024-03-05T18:01Z")),
        fields=("volume", "trades"),
        examples=tuple(
            Change(minute, name, value(truth, minute, name), said)
            for minute, values in SOME.items()
            for name, said in values.items()
        ),
    )
    assert before <= datetime.fromisoformat(noted.at) <= datetime.now(UTC)
    assert dataset_store.revised == {DAY.key: noted}
    assert dataset_store.read(DAY).klines.equals(having(truth, SOME))


def test_a_ledger_is_one_json_object_a_line_with_what_the_docs_promise(dataset_store):
    publish(dataset_store)
    publish(dataset_store, SOME)
    publish(dataset_store, OTHERS)
    first, second = [json.loads(line) for line in ledger(dataset_store).read_text().splitlines()]
    docs = (Path(__file__).parents[3] / "docs" / "store.md").read_text(encoding="utf-8")
    assert [field for field in first if f"`{field}`" not in docs] == []
    assert first["minutes"][0] == {"start_ms": NOON, "end_ms": NOON + 2 * MINUTE_MS}
    assert second["examples"][0] == {"open_time": NOON, "field": "volume", "old": 7.0, "new": 9.0}
    assert first["new_sha256"] == second["old_sha256"]


def test_a_revision_keeps_few_examples_and_all_minutes(dataset_store):
    publish(dataset_store)
    publish(dataset_store, {minute: {"volume": 7.5, "trades": 99} for minute in range(NOON, DAY.end_ms, MINUTE_MS)})
    [noted] = dataset_store.revisions()
    assert noted.minutes == (Span(NOON, DAY.end_ms),)
    assert len(noted.examples) == 20


def test_an_equal_refetch_notes_nothing_and_writes_no_chunk(dataset_store):
    entry = publish(dataset_store, without=[HALT])
    path = dataset_store.chunk_path(DAY)
    written = storage_of(path).version(path)
    assert publish(dataset_store, without=[HALT]) == entry
    assert storage_of(path).version(path) == written
    assert not ledger(dataset_store).exists()
    assert dataset_store.revised == {}


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.UNEXPLAINED, Kind.OUTAGE])
def test_minutes_that_are_new_are_no_revision(dataset_store, kind):
    publish(dataset_store, without=[HALT], absent=kind)
    assert publish(dataset_store).rows == 1440
    assert not ledger(dataset_store).exists()


def test_a_chunk_that_grows_and_is_revised_notes_only_the_minutes_that_were_there(dataset_store):
    publish(dataset_store, without=[HALT], absent=Kind.OPEN)
    publish(dataset_store, {HALT.start_ms: {"volume": 7.0}, NOON: {"volume": 8.0}})
    [noted] = dataset_store.revisions()
    assert noted.minutes == (Span(NOON, NOON + MINUTE_MS),)


def test_a_chunk_that_stays_since_the_new_one_lacks_minutes_is_not_revised(dataset_store):
    publish(dataset_store)
    with pytest.raises(StoreError, match="keeps its chunk"):
        publish(dataset_store, SOME, without=[HALT])
    assert not ledger(dataset_store).exists()


def test_another_chunk_size_takes_effect_and_is_no_revision(dataset_store):
    publish(dataset_store)
    publish(dataset_store, row_group_rows=500)
    assert pq.read_metadata(pa.BufferReader(dataset_store.chunk_path(DAY).read_bytes())).num_row_groups == 3
    assert not ledger(dataset_store).exists()


def chunk_of(klines: pa.Table, sha256: str) -> Chunk:
    footer = Footer("spot", "BTC/USDT", "UTC", DAY.key, "rest", ())
    return Chunk(Entry.of_chunk(DAY, klines, footer, size_bytes=1, sha256=sha256), klines, footer)


MINUTES = st.sets(st.integers(0, 9), max_size=10)


@given(MINUTES, MINUTES, st.dictionaries(st.integers(0, 9), st.sampled_from(FIELDS[1:]), max_size=6))
def test_a_revision_is_exactly_the_common_minutes_that_differ(had, has, changed):
    def klines(minutes: Iterable[int], values: Values) -> pa.Table:
        absent = [Span(NOON + row * MINUTE_MS, NOON + (row + 1) * MINUTE_MS) for row in {*range(10)} - {*minutes}]
        table = klines_of(Span(NOON, NOON + 10 * MINUTE_MS), without=absent)
        return having(table, {NOON + row * MINUTE_MS: said for row, said in values.items() if row in minutes})

    not_a_number = {row: {"ignore": np.nan} for row in range(0, 10, 2)}
    now = {row: {**not_a_number.get(row, {}), **({changed[row]: 123} if row in changed else {})} for row in range(10)}
    found = revision_between(chunk_of(klines(had, not_a_number), "old"), chunk_of(klines(has, now), "new"))
    expected = {row: changed[row] for row in sorted(had & has & changed.keys())}
    assert (found is None) == (not expected)
    if found:
        assert sum(span.minutes for span in found.minutes) == len(expected)
        assert [((one.open_time - NOON) // MINUTE_MS, one.field) for one in found.examples] == [*expected.items()]
        assert {one.new for one in found.examples} == {123}
        assert set(found.fields) == set(expected.values())


# --- another source that says the same


def test_a_source_that_says_the_same_leaves_the_chunk_and_what_vouches_for_it(root, dataset_store):
    entry = publish(dataset_store, without=[HALT])
    dataset_store.flush()
    written, listed = (
        path.read_bytes() for path in (dataset_store.chunk_path(DAY), dataset_store.folder / "manifest.json")
    )
    again = opened(root)
    assert publish(again, without=[HALT], source="archive") == entry
    again.flush()
    assert again.chunk_path(DAY).read_bytes() == written
    archived = listed.replace(b'"state":"confirmed"', b'"state":"archived"')
    assert (again.folder / "manifest.json").read_bytes() == archived != listed
    assert opened(root).entries == {DAY.key: entry}
    assert not ledger(again).exists()


def test_a_chunk_that_no_manifest_lists_is_vouched_for_when_another_source_says_the_same(root, dataset_store):
    entry = publish(opened(root))
    assert publish(dataset_store, source="archive") == entry == dataset_store.entries[DAY.key]
    dataset_store.flush()
    assert json.loads((dataset_store.folder / "manifest.json").read_bytes())["chunks"][0]["sha256"] == entry.sha256


@pytest.mark.parametrize(
    "otherwise",
    [{"evidence": ("archive: none",)}, {"absent": Kind.UNEXPLAINED}, {"row_group_rows": 500}, {"values": SOME}],
    ids=["other evidence", "another reason", "another chunk size", "other values"],
)
def test_a_source_that_says_anything_else_replaces_the_chunk(dataset_store, otherwise):
    publish(dataset_store, without=[HALT])
    entry = publish(dataset_store, without=[HALT], source="archive", **otherwise)
    assert entry.source == "archive"
    assert dataset_store.read(DAY).entry == entry == dataset_store.entries[DAY.key]


def test_a_damaged_chunk_is_never_kept_and_never_compared(dataset_store):
    publish(dataset_store)
    dataset_store.flush()
    dataset_store.chunk_path(DAY).write_bytes(b"no longer Parquet")
    assert publish(dataset_store, SOME, source="archive").source == "archive"
    assert dataset_store.is_intact(DAY)
    assert not ledger(dataset_store).exists(), "what a damaged chunk said is not known"


# --- killed, torn, at once


@pytest.mark.parametrize("unlisted", [False, True], ids=["right after the line", "right before the replacement"])
def test_a_replacement_that_was_killed_after_it_was_noted_is_noted_once(root, dataset_store, unlisted):
    publish(dataset_store)
    dataset_store.flush()
    path, manifest = dataset_store.chunk_path(DAY), dataset_store.folder / "manifest.json"
    standing, listed = path.read_bytes(), manifest.read_bytes()
    publish(opened(root), SOME)
    path.write_bytes(standing)
    if not unlisted:
        manifest.write_bytes(listed)
    again = opened(root)
    entry = publish(again, SOME)
    [noted] = again.revisions()
    assert list(again.revised) == [DAY.key]
    assert again.read(DAY).entry == entry
    assert noted.new_sha256 == entry.sha256


def test_values_that_go_back_and_forth_are_noted_each_time(dataset_store):
    for values in ({}, SOME, {}, SOME):
        publish(dataset_store, values)
    assert len(dataset_store.revisions()) == 3


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_torn_last_line_is_ignored_and_swallows_no_other(root, dataset_store, kept):
    publish(dataset_store)
    publish(dataset_store, SOME)
    [first] = dataset_store.revisions()
    line = ledger(dataset_store).read_bytes()
    ledger(dataset_store).write_bytes(line + line[: int(len(line) * kept)])
    assert dataset_store.revisions() == [first]
    publish(opened(root), OTHERS)
    publish(dataset_store)
    assert [noted.fields for noted in dataset_store.revisions()] == [
        ("volume", "trades"), ("volume", "trades"), ("volume",),
    ]  # fmt: skip
    assert dataset_store.revisions()[0] == first


@pytest.mark.parametrize("line", [b"{}", b"null", b"7", b'"day"', b"\xff\xfe", b"\x00" * 9, b'{"day": "2024-03-05"}'])
def test_a_line_that_is_no_revision_does_not_stop_the_store(dataset_store, line):
    ledger(dataset_store).write_bytes(line + b"\n")
    publish(dataset_store)
    publish(dataset_store, SOME)
    assert len(dataset_store.revisions()) == 1


@pytest.mark.parametrize(
    ("part", "other"), [(b'"fields":["volume"', b'"fields":["weight"'), (b'"field":"volume"', b'"field":"x"')]
)
def test_a_line_with_a_field_that_no_kline_has_is_no_revision(dataset_store, part, other):
    publish(dataset_store)
    publish(dataset_store, OTHERS)
    assert len(dataset_store.revisions()) == 1
    line = ledger(dataset_store).read_bytes()
    assert part in line
    ledger(dataset_store).write_bytes(line.replace(part, other))
    assert dataset_store.revisions() == []


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("day", "2024-02-30"),
        ("day", "0001-01-01"),
        ("at", "yesterday"),
        ("at", ""),
        ("old_sha256", "A" * 64),
        ("old_sha256", "a" * 63),
        ("new_sha256", "../../manifest.json"),
        ("new_sha256", "g" * 64),
        ("minutes", []),
        ("minutes", [{"start_ms": NOON, "end_ms": NOON}]),
        ("minutes", [{"start_ms": NOON + 1, "end_ms": NOON + MINUTE_MS}]),
        ("minutes", [{"start_ms": NOON, "end_ms": NOON + MINUTE_MS}, {"start_ms": NOON, "end_ms": NOON + 1}]),
        ("fields", ["volume", "weight"]),
    ],
)
def test_a_line_that_no_writer_writes_is_no_revision(dataset_store, key, other):
    publish(dataset_store)
    publish(dataset_store, SOME)
    publish(dataset_store, OTHERS)
    first, second = ledger(dataset_store).read_bytes().splitlines()
    assert len(read(dataset_store.folder)) == 2
    altered = json.dumps({**json.loads(first), key: other}, separators=(",", ":")).encode()
    ledger(dataset_store).write_bytes(altered + b"\n" + second + b"\n")
    assert [noted.fields for noted in read(dataset_store.folder)] == [("volume", "trades")]
    assert read(dataset_store.folder)[0].old_sha256 == json.loads(second)["old_sha256"]


@pytest.mark.parametrize("at", ["2024-03-10", "2024-03-10T12:00", "2024-03-10T12:00:01.5+01:00"])
def test_a_line_that_a_person_gave_another_time_is_a_revision(dataset_store, at):
    publish(dataset_store)
    publish(dataset_store, SOME)
    line = json.loads(ledger(dataset_store).read_bytes())
    ledger(dataset_store).write_bytes(json.dumps({**line, "at": at}, separators=(",", ":")).encode() + b"\n")
    assert [noted.at for noted in read(dataset_store.folder)] == [at]


def test_what_was_written_is_read_back_in_order(root, dataset_store):
    publish(dataset_store)
    publish(dataset_store, SOME)
    [noted] = dataset_store.revisions()
    append(root, noted)
    append(root, noted)
    assert read(root) == [noted]


def test_a_revision_whose_chunk_was_refused_is_taken_out_again(dataset_store):
    for values in (None, SOME, OTHERS):
        publish(dataset_store, values)
    first, second = ledger(dataset_store).read_bytes().splitlines(keepends=True)
    revision, _ = read(dataset_store.folder)
    withdraw(dataset_store.folder, revision)
    assert ledger(dataset_store).read_bytes() == second
    withdraw(dataset_store.folder, revision)
    assert ledger(dataset_store).read_bytes() == second
    append(dataset_store.folder, revision)
    assert ledger(dataset_store).read_bytes() == second + first
    withdraw(dataset_store.folder, revision)
    assert ledger(dataset_store).read_bytes() == second


def test_two_stores_note_what_each_of_them_replaced(root, dataset_store):
    other = opened(root)
    shas = [
        publish(into, values).sha256 for into, values in ((dataset_store, {}), (other, SOME), (dataset_store, OTHERS))
    ]
    replaced = [(noted.old_sha256, noted.new_sha256) for noted in opened(root).revisions()]
    assert replaced == [(shas[0], shas[1]), (shas[1], shas[2])]
    assert (list(other.revised), list(dataset_store.revised)) == ([DAY.key], [DAY.key])


def test_stores_that_note_at_once_leave_every_line_whole(root, dataset_store):
    keys = [f"2024-03-{number:02d}" for number in range(1, 17)]

    def revise(part: int) -> None:
        into = opened(root)
        for key in keys[part::4]:
            publish(into, key=key)
            publish(into, {into.dataset.day(key).start_ms: {"volume": 7.0}}, key=key)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(revise, range(4)))
    assert sorted(noted.day for noted in dataset_store.revisions()) == keys
    assert len(ledger(dataset_store).read_bytes().splitlines()) == len(keys)


# --- where it shows


def test_a_status_counts_revisions_and_names_the_last(root, dataset_store):
    publish(dataset_store)
    assert (status_of(dataset_store).revisions, status_of(dataset_store).last_revision) == (0, None)
    publish(dataset_store, SOME)
    publish(dataset_store, OTHERS)
    status = status_of(opened(root))
    assert (status.revisions, status.last_revision) == (2, dataset_store.revised[DAY.key])


def test_a_refetch_notes_what_the_exchange_revised_since(made):
    source = FakeSource()
    window = span("2024-03-05", "2024-03-07")
    list(backfill(made, source, window))
    publish(made, SOME)
    results = list(backfill(made, source, window, refetch=True))
    assert [noted.day for noted in made.revisions()] == [DAY.key, DAY.key]
    assert results[0].entry.sha256 == made.revisions()[-1].new_sha256
    assert made.read(DAY).klines.equals(klines_of(whole(DAY)))


def test_klines_that_were_read_live_give_way_to_the_same_ones_read_later_and_no_other_way_round(dataset_store):
    live = publish(dataset_store, source="live+rest")
    assert live.state is State.PROVISIONAL
    confirmed = publish(dataset_store, source="rest")
    assert (confirmed.state, confirmed.source) == (State.CONFIRMED, "rest")
    assert publish(dataset_store, source="live+rest") == confirmed
    assert publish(dataset_store, source="live+rest").state is State.CONFIRMED
    assert not ledger(dataset_store).exists()


def test_what_the_archive_said_is_kept_until_the_manifest_is_lost(root, dataset_store):
    publish(dataset_store, source="rest")
    assert publish(dataset_store, source="archive").state is State.ARCHIVED
    dataset_store.flush()
    assert publish(opened(root), source="rest").state is State.ARCHIVED
    (dataset_store.folder / "manifest.json").unlink()
    assert opened(root).entries[DAY.key].state is State.CONFIRMED
