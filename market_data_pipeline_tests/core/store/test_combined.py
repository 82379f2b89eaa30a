"""The combined file is its chunks, in order, whenever it is looked at; it is written only when that needs writing."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from threading import Thread

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market_data_pipeline.core.errors import StoreError, UsageError
from market_data_pipeline.core.klines.coverage import Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import Day, parse_zone
from market_data_pipeline.core.klines.table import FIELDS, cut
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.combined import Agreement, combined_agreement
from market_data_pipeline.core.store import layout
from market_data_pipeline.core.store.combined import ChunkReplaced, ChunkRows, Selection, combine, read_combined, select
from market_data_pipeline.core.store.dataset_store import Chunk, DatasetStore
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline.reader import open_dataset
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, day, klines_of, span, whole
from market_data_pipeline_tests.core.store.conftest import in_a_folder
from market_data_pipeline_tests.core.store.test_lost_answers import written_by_another
from market_data_pipeline_tests.objects_proxy import Request
from market_data_pipeline_tests.places import in_bucket

FIRST = date(2020, 1, 1)
WINDOW = span("2020-01-01", "2020-01-06")
HALT = span("2020-01-03T04:00Z", "2020-01-03T05:30Z")
ALL = klines_of(WINDOW, without=[HALT])


@pytest.fixture
def loaded(store) -> DatasetStore:
    """Five days, one of them with an outage."""
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    list(backfill(made, FakeSource(missing=[HALT]), WINDOW))
    return made


def opened(root) -> DatasetStore:
    """The dataset as another process opens it."""
    store = Store(root, manifest_interval_s=3600)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def written(path: Path) -> int:
    return storage_of(path).version(path)


class Disturbed(DatasetStore):
    """The dataset, to which another process does something after this one has looked at it so many times."""

    def __init__(self, store: DatasetStore, happens: Callable[[], object], *, looks: int) -> None:
        super().__init__(store.folder, store.dataset, manifest_interval_s=3600)
        self._happens, self._looks = happens, looks

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        with super().undisturbed():
            yield
        self._looks -= 1
        if self._looks == 0:
            self._happens()


BEFORE_IT_WAITS, BEFORE_IT_READS = 1, 2
"""For `looks`: the moments of a combine after its two choices of chunks."""


def content_of(path: Path) -> pa.Table:
    return pq.read_table(pa.BufferReader(path.read_bytes()))


def test_the_combined_file_is_the_chunks_in_order(loaded):
    combined = combine(loaded)
    assert combined.path == loaded.folder / "combined" / "BTCUSDT_1m_all.parquet"
    assert content_of(combined.path).equals(ALL)
    assert (combined.chunks, combined.rows, combined.built) == (5, ALL.num_rows, True)
    assert combined.size_bytes == len(combined.path.read_bytes())
    assert [path.name for path in combined.path.parent.iterdir()] == ["BTCUSDT_1m_all.parquet"]


@in_a_folder
def test_what_a_killed_combine_left_is_removed_by_the_next_one_of_any_selection(loaded):
    combined = combine(loaded).path
    leftover = combined.with_name("BTCUSDT_1m_000002-000003.parquet.tmp")
    leftover.write_bytes(b"half")
    combine(loaded, rebuild=True)
    assert [path.name for path in combined.parent.iterdir()] == [combined.name]


@in_a_folder
def test_pandas_reads_the_combined_file_without_options(loaded):
    frame = pd.read_parquet(combine(loaded).path)
    assert list(frame.columns) == list(FIELDS)
    assert frame["open_time"].is_monotonic_increasing
    assert len(frame) == ALL.num_rows


def test_nothing_but_our_own_facts_is_kept_beside_the_columns(loaded):
    """What pyarrow adds of its own changes with its version, and equal klines have to give equal bytes."""
    for path in (combine(loaded).path, loaded.chunk_path(day("2020-01-03"))):
        assert list(pq.read_metadata(pa.BufferReader(path.read_bytes())).metadata) == [b"market_data"]


def test_all_chunks_whole_are_what_is_selected_without_a_choice(loaded):
    chosen = Selection.of_all(loaded.dataset, loaded.by_day())
    assert chosen == select(loaded)
    assert (chosen.entries, chosen.span, chosen.suffix) == (tuple(loaded.by_day()), WINDOW, "all")


def test_rows_are_taken_in_order_and_no_more_chunks_are_read_than_they_need(loaded):
    rows, taken = ChunkRows(loaded, select(loaded)), 0
    for count, chunks in ((1000, 1), (440, 1), (1441, 3), (0, 3)):
        assert rows.take(count).equals(ALL.slice(taken, count))
        taken += count
        assert rows.entries == loaded.by_day()[:chunks]
    assert rows.take(100_000).equals(ALL.slice(taken))
    assert rows.take(1).num_rows == 0


def test_nothing_is_written_while_the_chunks_are_the_same(loaded):
    first = combine(loaded)
    before = written(first.path)
    second = combine(loaded)
    assert written(first.path) == before
    assert not second.built
    assert (second.rows, second.chunks, second.size_bytes, second.fingerprint) == (
        first.rows, first.chunks, first.size_bytes, first.fingerprint,
    )  # fmt: skip


@in_a_folder
def test_a_rebuild_that_is_asked_for_gives_the_same_bytes(loaded):
    path = combine(loaded).path
    before, content = written(path), path.read_bytes()
    assert combine(loaded, rebuild=True).built
    assert written(path) > before
    assert path.read_bytes() == content


def test_a_changed_chunk_and_a_new_one_make_it_be_built_anew(loaded):
    path = combine(loaded).path
    list(backfill(loaded, FakeSource(), WINDOW, refetch=True))
    assert combine(loaded).built
    assert content_of(path).equals(klines_of(WINDOW))
    list(backfill(loaded, FakeSource(), span("2020-01-06", "2020-01-07")))
    assert combine(loaded).chunks == 6
    assert content_of(path).equals(klines_of(span("2020-01-01", "2020-01-07")))


def test_a_combined_file_that_cannot_be_read_is_built_anew(loaded):
    path = combine(loaded).path
    path.write_bytes(b"garbage")
    assert combine(loaded).built
    assert content_of(path).equals(ALL)


# --- which chunks


@pytest.mark.parametrize(
    ("from_index", "to_index", "name", "window"),
    [
        (2, 3, "BTCUSDT_1m_000002-000003.parquet", span("2020-01-02", "2020-01-04")),
        (4, None, "BTCUSDT_1m_000004-.parquet", span("2020-01-04", "2020-01-06")),
        (None, 1, "BTCUSDT_1m_-000001.parquet", span("2020-01-01", "2020-01-02")),
        (5, 5, "BTCUSDT_1m_000005-000005.parquet", span("2020-01-05", "2020-01-06")),
    ],
)
def test_chunks_can_be_chosen_by_index_both_ends_included(loaded, from_index, to_index, name, window):
    combined = combine(loaded, from_index=from_index, to_index=to_index)
    assert combined.path.name == name
    assert content_of(combined.path).equals(cut(ALL, window))


@pytest.mark.parametrize(
    ("zone", "name", "window"),
    [
        ("UTC", "BTCUSDT_1m_all_UTC.parquet", WINDOW),
        ("Europe/Zurich", "BTCUSDT_1m_all_Europe-Zurich.parquet", span("2020-01-01T23:00Z", "2020-01-05T23:00Z")),
        ("+05:30", "BTCUSDT_1m_all_+0530.parquet", span("2020-01-01T18:30Z", "2020-01-05T18:30Z")),
        ("America/New_York", "BTCUSDT_1m_all_America-New_York.parquet", span("2020-01-01T05:00Z", "2020-01-05T05:00Z")),
    ],
)
def test_with_a_zone_it_has_the_whole_days_of_that_zone(loaded, zone, name, window):
    combined = combine(loaded, zone=parse_zone(zone))
    assert combined.path.name == name
    assert content_of(combined.path).equals(cut(ALL, window))


def test_files_of_different_choices_lie_side_by_side(loaded):
    combine(loaded)
    combine(loaded, zone=parse_zone("Europe/Zurich"))
    combine(loaded, from_index=1, to_index=2)
    (loaded.folder / "combined" / "notes.txt").write_bytes(b"of a person")
    names = ["BTCUSDT_1m_000001-000002.parquet", "BTCUSDT_1m_all.parquet", "BTCUSDT_1m_all_Europe-Zurich.parquet"]
    assert [path.name for path in layout.combined_files(loaded.folder)] == names
    assert not combine(loaded).built


def test_a_choice_without_chunks_is_refused(loaded):
    with pytest.raises(UsageError, match="no chunks to combine there"):
        select(loaded, from_index=6)


def test_an_index_that_no_chunk_has_is_refused(loaded):
    with pytest.raises(UsageError, match="0 is the index of no chunk"):
        select(loaded, to_index=0)


def test_indexes_in_the_wrong_order_are_refused_as_such(loaded):
    with pytest.raises(UsageError, match="from index 5 is after to index 3; give the smaller one first"):
        select(loaded, from_index=5, to_index=3)


def test_a_choice_without_a_whole_day_of_the_zone_is_refused(loaded):
    with pytest.raises(UsageError, match="no whole day of Europe/Zurich"):
        select(loaded, zone=parse_zone("Europe/Zurich"), from_index=2, to_index=2)


def test_a_dataset_without_chunks_has_nothing_to_combine(made):
    with pytest.raises(UsageError, match="run backfill first"):
        select(made)


# --- chunks that are replaced meanwhile


def test_what_another_combine_wrote_while_this_one_waited_is_not_replaced_by_less(root, loaded):
    def overtaken() -> None:
        other = opened(root)
        list(backfill(other, FakeSource(), span("2020-01-06", "2020-01-07")))
        combine(other)

    waited = combine(Disturbed(loaded, overtaken, looks=BEFORE_IT_WAITS))
    assert (waited.chunks, waited.built) == (6, False)
    assert combined_agreement(opened(root)) == (Agreement.EQUAL, "")


def test_of_two_combines_at_once_the_one_that_has_seen_less_does_not_win(root, loaded):
    def more() -> None:
        other = opened(root)
        list(backfill(other, FakeSource(), span("2020-01-06", "2020-01-07")))
        combine(other)

    later = Thread(target=more)

    def begin() -> None:
        later.start()
        later.join(timeout=0.5)  # the other one has to wait for this one

    combine(Disturbed(loaded, begin, looks=BEFORE_IT_READS))
    later.join()
    assert combined_agreement(opened(root)) == (Agreement.EQUAL, "")


def test_a_chunk_that_was_replaced_since_it_was_selected_is_taken_as_it_is_now(root, loaded):
    selection = select(loaded)
    replace = partial(backfill, opened(root), FakeSource(), WINDOW, refetch=True)
    combined = combine(Disturbed(loaded, lambda: list(replace()), looks=BEFORE_IT_READS))
    assert content_of(combined.path).equals(klines_of(WINDOW))
    assert combined.fingerprint == select(loaded).fingerprint() != selection.fingerprint()
    assert not combine(loaded).built


def test_who_compares_is_told_of_a_chunk_that_was_replaced_meanwhile(root, loaded):
    rows = ChunkRows(loaded, select(loaded))
    assert rows.take(1440).equals(ALL.slice(0, 1440))
    list(backfill(opened(root), FakeSource(), WINDOW, refetch=True))
    assert rows.take(1440).equals(ALL.slice(1440, 1440))
    with pytest.raises(ChunkReplaced, match="^the chunk of 2020-01-03 was replaced while it was compared$"):
        rows.take(1440)
    newest = ChunkRows(loaded, select(loaded), newest=True)
    assert newest.take(100_000).equals(klines_of(WINDOW))


def test_a_damaged_chunk_is_no_replaced_one(root, loaded):
    selection = select(loaded)
    path = loaded.chunk_path(day("2020-01-03"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for newest in (False, True):
        with pytest.raises(StoreError, match="2020-01-03") as refused:
            ChunkRows(loaded, selection, newest=newest).take(100_000)
        assert not isinstance(refused.value, ChunkReplaced)


def test_the_old_chunk_in_the_place_of_the_listed_one_is_damage(root, loaded):
    """Of two good chunks of a day the one that is listed counts."""
    path = loaded.chunk_path(day("2020-01-03"))
    old = path.read_bytes()
    list(backfill(loaded, FakeSource(), WINDOW, refetch=True))
    loaded.flush()
    path.write_bytes(old)
    late = opened(root)
    with pytest.raises(
        StoreError, match="the chunk of 2020-01-03 is damaged; run market-data .*BTC/USDT verify --repair"
    ):
        combine(late)


def test_chunks_that_got_another_name_since_they_were_selected_are_found(root, loaded):
    move = partial(opened(root).note_requested, WINDOW, date(2019, 12, 30))
    assert content_of(combine(Disturbed(loaded, move, looks=BEFORE_IT_READS)).path).equals(ALL)


# --- long histories


def test_rows_lie_in_groups_of_131072_whatever_the_days_are(store):
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    last = day((FIRST + timedelta(days=184)).isoformat())
    window = Span(WINDOW.start_ms, last.end_ms)
    list(backfill(made, FakeSource(missing=[HALT], page_minutes=14_400), window))
    combined = combine(made)
    metadata = pq.read_metadata(pa.BufferReader(combined.path.read_bytes()))
    groups = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert groups == [131_072, 131_072, 185 * 1440 - 90 - 2 * 131_072]
    assert content_of(combined.path).equals(klines_of(window, without=[HALT]))


# --- damage


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_a_damaged_chunk_is_refused_and_the_old_file_stays(loaded, damage):
    path = combine(loaded).path
    before = path.read_bytes()
    chunk = loaded.chunk_path(day("2020-01-04"))
    chunk.unlink() if damage == "gone" else chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    with pytest.raises(StoreError, match="2020-01-04"):
        combine(loaded, rebuild=True)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_load_that_starts_meanwhile_does_not_disturb(root, loaded):
    """A load clears away what killed processes left behind; what a living one is writing is not that."""

    class Busy(DatasetStore):
        def read(self, on: Day) -> Chunk:
            other = Store(root).open(self.dataset)
            other.note_requested(whole(on), FIRST)
            return super().read(on)

    busy = Busy(loaded.folder, loaded.dataset, manifest_interval_s=3600)
    assert content_of(combine(busy).path).equals(ALL)
    assert layout.combined_path(busy.folder, busy.dataset.token).exists()


def test_one_in_a_bucket_that_is_replaced_while_it_is_read_is_as_good_as_none(proxy, direct):
    """In a folder the file that was opened stays; a bucket has only the new one."""
    root, window = in_bucket(), span("2020-01-01", "2020-02-05")
    store = Store(root, manifest_interval_s=3600)
    made = store.create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    list(backfill(made, FakeSource(), window))
    path = combine(made).path

    def replaced(request: Request) -> bool:
        if request.method == "HEAD" and request.key.endswith(path.name):
            written_by_another(direct, path, uuid.uuid4().bytes)
        return False

    proxy.loses = replaced
    assert read_combined(path) is None
    assert open_dataset("BTC/USDT", market="spot", root=str(root)).to_arrow().equals(klines_of(window))
    assert combined_agreement(made).agreement is Agreement.UNKNOWN
