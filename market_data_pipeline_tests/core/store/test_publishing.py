"""Who may put a chunk in place of another, and what a user is told otherwise."""

import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from market_data_pipeline.core.klines.coverage import Absence, Kind, Span
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.store.chunks.files import NewChunk, new_chunk
from market_data_pipeline.core.store.chunks.replacing import Overtaken, until_published
from market_data_pipeline.core.store.dataset_file import write_dataset
from market_data_pipeline.core.store.dataset_store import DatasetStore
from market_data_pipeline.core.store.disk import calls
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.places import storage_of
from market_data_pipeline_tests.core.fakes import UTC_ZONE, changed, day, klines_of, span, whole
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, Request
from market_data_pipeline_tests.places import in_bucket
from market_data_pipeline_tests.powerloss import object_server

FIRST = date(2024, 3, 1)
DAY = day("2024-03-05")
HALT = span("2024-03-05T04:00Z", "2024-03-05T05:30Z")
LONGER_HALT = span("2024-03-05T03:00Z", "2024-03-05T05:30Z")
GOES_ON = "spot BTC/USDT 2024-03-05: another process goes on writing its chunk"


@pytest.fixture
def dataset_store(made: DatasetStore) -> DatasetStore:
    made.note_requested(span("2024-03-01", "2024-03-10"), FIRST)
    return made


def a_chunk(
    of: DatasetStore, *, without: Iterable[Span] = (), source: str = "rest", based_on: str | None = None
) -> NewChunk:
    absences = [Absence(Kind.OUTAGE, gap) for gap in without]
    klines = klines_of(whole(DAY), without=without)
    return new_chunk(of.dataset, DAY, klines, absences, source=source, based_on=based_on)


def opened(root: Any) -> DatasetStore:
    """The dataset as another process would open it."""
    store = Store(root, manifest_interval_s=3600)
    return store.open(store.find(Market.SPOT, "BTC/USDT"))


def test_a_chunk_that_keeps_klines_of_another_than_the_stored_one_is_refused(dataset_store: DatasetStore) -> None:
    stored = dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    with pytest.raises(Overtaken) as refused:
        dataset_store.publish(a_chunk(dataset_store, based_on="0" * 64))
    assert (str(refused.value), refused.value.refused) == (GOES_ON, None)
    assert dataset_store.entries[DAY.key] == stored
    assert dataset_store.publish(a_chunk(dataset_store, based_on=stored.sha256)).rows == 1440


def test_after_a_refusal_the_chunk_of_the_other_process_is_known(root: Any, dataset_store: DatasetStore) -> None:
    dataset_store.publish(a_chunk(dataset_store, without=[LONGER_HALT]))
    better = opened(root).publish(a_chunk(dataset_store, without=[HALT]))
    with pytest.raises(Overtaken, match="another process goes on writing"):
        dataset_store.publish(a_chunk(dataset_store, based_on="0" * 64))
    assert dataset_store.entries[DAY.key] == better
    trusted = dataset_store.trusted(DAY)
    assert trusted is not None
    assert trusted.entry == better


def test_a_chunk_that_lacks_minutes_is_refused_with_what_it_is_and_what_is_stored(dataset_store: DatasetStore) -> None:
    """By that a load knows that trying again would end like this."""
    stored, worse = dataset_store.publish(a_chunk(dataset_store)), a_chunk(dataset_store, without=[HALT])
    for _ in range(2):
        with pytest.raises(Overtaken, match="keeps its chunk: the exchange now lacks 90 minutes") as refused:
            dataset_store.publish(worse)
        assert refused.value.refused == (worse.chunk.entry.sha256, stored.sha256)
    assert dataset_store.entries[DAY.key] == stored


@pytest.mark.parametrize("direct", ["own_server"], indirect=True)
def test_a_chunk_that_was_away_for_a_moment_is_not_taken_for_a_damaged_one(
    proxy: ObjectsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another process renames it twice. It is back with the version that it had."""
    # So that what is back is as old as before.
    stands = SimpleNamespace(time=lambda: 1_700_000_000.0, gmtime=time.gmtime, strftime=time.strftime)
    monkeypatch.setattr(object_server, "time", stands)
    root = in_bucket()
    made = Store(root).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    made.note_requested(span("2024-03-01", "2024-03-10"), FIRST)
    made.publish(a_chunk(made))
    made.flush()
    path = made.chunk_path(DAY)
    content, late = path.read_bytes(), opened(root)
    happened = list[str]()

    def happens(request: Request) -> bool:
        if request.key.endswith(path.name) and len(happened) < 2 and request.method == ("HEAD", "GET")[len(happened)]:
            happened.append(request.method)
            storage_of(root).remove(path) if len(happened) == 1 else path.write_bytes(content)
        return False

    proxy.loses = happens
    with pytest.raises(Overtaken):
        late.publish(a_chunk(late, without=[HALT]))
    assert happened == ["HEAD", "GET"]
    assert path.read_bytes() == content
    assert late.strangers() == [] and not storage_of(root).names(late.folder / "quarantine")


def test_a_listed_chunk_that_is_gone_is_written_again(root: Any, dataset_store: DatasetStore) -> None:
    dataset_store.publish(a_chunk(dataset_store))
    dataset_store.flush()
    dataset_store.chunk_path(DAY).unlink()
    again = opened(root)
    assert list(again.entries) == [DAY.key]
    mended = again.publish(a_chunk(again, source="archive"))
    assert again.is_intact(DAY)
    assert opened(root).entries == {DAY.key: mended}


def test_a_chunk_with_an_older_name_gets_the_one_that_follows_from_the_start(
    root: Any, dataset_store: DatasetStore
) -> None:
    dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    dataset_store.flush()
    other = opened(root)
    dataset_store.note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    other.publish(a_chunk(other))
    chunks = dataset_store.folder / "chunks"
    assert [path.name for path in chunks.iterdir()] == ["chunk_000034_2024-03-05.parquet"]
    assert opened(root).read(DAY).entry.rows == 1440


@pytest.mark.parametrize("manifest_interval_s", [3600, 0])
@pytest.mark.parametrize("has_chunk", [True, False])
def test_days_published_together_after_another_process_moved_the_start_have_one_name_each(
    root: Any, dataset_store: DatasetStore, has_chunk: bool, manifest_interval_s: float
) -> None:
    if has_chunk:
        dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
        dataset_store.flush()
    store = Store(root, manifest_interval_s=manifest_interval_s)
    writer = store.open(dataset_store.dataset)
    dataset_store.note_requested(span("2024-02-01", "2024-02-02"), date(2024, 2, 1))
    days = [DAY, *(day(f"2024-03-0{number}") for number in range(6, 10))]
    new = [new_chunk(writer.dataset, each, klines_of(whole(each)), [], source="rest") for each in days]

    def publish() -> None:
        with writer.together(new):
            for each in new:
                writer.publish(each)

    until_published(publish)
    writer.flush()
    names = sorted(path.name for path in (writer.folder / "chunks").iterdir())
    assert names == [f"chunk_0000{number + 29}_2024-03-0{number}.parquet" for number in range(5, 10)]
    found = opened(root)
    assert found.strangers() == []
    assert [found.read(each).entry.rows for each in days] == [1440] * 5


def test_a_chunk_whose_name_could_not_be_synced_is_listed_after_it_was(tmp_path: Path) -> None:
    made = Store(tmp_path, manifest_interval_s=3600).create(Market.SPOT, "BTC/USDT", zone=UTC_ZONE, start=FIRST)
    made.note_requested(span("2024-03-01", "2024-03-10"), FIRST)
    seen: list[str] = []

    def refuse(call: calls.Call) -> None:
        if call.kind is calls.Kind.FOLDER_SYNCED and call.path.name == "chunks":
            raise OSError("no space left on device")

    def note(call: calls.Call) -> None:
        if call.kind is calls.Kind.FOLDER_SYNCED or (call.target and call.target.name == "manifest.json"):
            seen.append((call.target or call.path).name)

    with calls.told(refuse), pytest.raises(OSError, match="no space left"):
        made.publish(a_chunk(made))
    with calls.told(note):
        made.flush()
    assert seen.index("chunks") < seen.index("manifest.json")


def test_a_revision_is_noted_and_logged(dataset_store: DatasetStore, caplog: pytest.LogCaptureFixture) -> None:
    dataset_store.publish(a_chunk(dataset_store))
    klines = changed(klines_of(whole(DAY)), "trades", 7, 99)
    dataset_store.publish(new_chunk(dataset_store.dataset, DAY, klines, [], source="rest"))
    assert dataset_store.revised[DAY.key].fields == ("trades",)
    assert [record.getMessage() for record in caplog.records] == [
        "spot BTC/USDT 2024-03-05 revised: trades of 1 minute"
    ]


@pytest.mark.parametrize("root", ["memory"], indirect=True)
def test_a_revision_under_a_name_that_has_become_old_is_told_when_its_chunk_is_published_again(
    root: Any, dataset_store: DatasetStore
) -> None:
    """Another process has moved the start and was killed before it renamed the chunk."""
    dataset_store.publish(a_chunk(dataset_store))
    klines = changed(klines_of(whole(DAY)), "trades", 7, 99)
    new = new_chunk(dataset_store.dataset, DAY, klines, [], source="rest")
    with pytest.raises(Overtaken, match="another process has moved the start to 2024-02-01"), dataset_store.together():
        write_dataset(dataset_store.folder, opened(root).dataset.starting_on(date(2024, 2, 1)))
        dataset_store.publish(new)
    assert [path.name for path in (dataset_store.folder / "chunks").iterdir()] == ["chunk_000034_2024-03-05.parquet"]
    dataset_store.publish(new)
    assert dataset_store.revised[DAY.key].fields == ("trades",)
    assert [noted.new_sha256 for noted in opened(root).revisions()] == [new.chunk.entry.sha256]


def test_equal_klines_of_another_source_change_no_file(dataset_store: DatasetStore) -> None:
    stored = dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    before = dataset_store.chunk_path(DAY).read_bytes()
    assert dataset_store.publish(a_chunk(dataset_store, without=[HALT], source="archive")) == stored
    assert dataset_store.chunk_path(DAY).read_bytes() == before
    assert dataset_store.revised == {}


def test_a_damaged_chunk_is_replaced_and_a_copy_of_it_kept(dataset_store: DatasetStore) -> None:
    dataset_store.publish(a_chunk(dataset_store))
    path = dataset_store.chunk_path(DAY)
    path.write_bytes(b"damaged")
    dataset_store.publish(a_chunk(dataset_store, without=[HALT]))
    assert (dataset_store.folder / "quarantine" / path.name).read_bytes() == b"damaged"
    assert dataset_store.read(DAY).entry.rows == 1350


def test_days_that_are_published_together_are_there_after_the_block(root: Any, dataset_store: DatasetStore) -> None:
    keys = ["2024-03-05", "2024-03-06", "2024-03-07"]
    new = [new_chunk(dataset_store.dataset, day(key), klines_of(whole(day(key))), [], source="rest") for key in keys]
    with dataset_store.together(new):
        entries = {each.day.key: dataset_store.publish(each) for each in new}
    dataset_store.flush()
    assert opened(root).entries == entries
    with dataset_store.together(new):
        assert {each.day.key: dataset_store.publish(each) for each in new} == entries
