"""The numbers of all datasets outlive the server, and count only while the files are those that were read."""

import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from market_data_pipeline.api.datasets.catalog import Catalog, DatasetView
from market_data_pipeline.api.datasets.kept import KeptFile
from market_data_pipeline.api.datasets.summaries import Known, Summaries, Unreadable
from market_data_pipeline.core.klines.coverage import Absence, Kind
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import MINUTE_MS
from market_data_pipeline.core.klines.table import bits_of
from market_data_pipeline.core.store.journal.segments import Owner
from market_data_pipeline.core.store.journal.writing import JournalWriter
from market_data_pipeline.core.store.layout import market_journal
from market_data_pipeline.core.store.manifest import to_text
from market_data_pipeline.core.store.root import Store
from market_data_pipeline.core.store.storage.protocol import StorePath
from market_data_pipeline_tests.api.pages.browsing import age, refused, store_days
from market_data_pipeline_tests.core.fakes import klines_at
from market_data_pipeline_tests.support import at, span, wait_until

# More than a page waits for.
PAIRS = [f"N{number:02d}/USDT" for number in range(12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Datasets whose files are old enough that each change shows."""
    root = tmp_path / "root"
    outage = Absence(Kind.OUTAGE, span("2024-01-02", "2024-01-02T01:00"), ("rest: none, asked twice",))
    for number, pair in enumerate(PAIRS):
        store_days(root, pair, 40 + number, absent={1: outage}, without=[3] if number == 5 else [])
    age(root)
    return root


def server(root: Path, file: Path | None = None) -> Summaries:
    """The numbers as a server has them that was just started."""
    return Summaries(Catalog(Store(root)), KeptFile(file or root.with_name("kept.json"), root))


def read(summaries: Summaries) -> list[Known | Unreadable]:
    """The numbers when all are read."""
    wait_until(lambda: all(isinstance(one, Unreadable) or one.is_current for one in summaries.known()))
    return summaries.known()


def is_known(summaries: Summaries, truth: list[Known | Unreadable]) -> bool:
    return summaries.known() == truth


@pytest.fixture
def truth(root: Path) -> list[Known | Unreadable]:
    """What a server has read, and kept."""
    found = read(server(root))
    wait_until(root.with_name("kept.json").exists)
    return found


def test_a_server_that_is_started_again_has_all_numbers_at_once(root: Path, truth: list[Known | Unreadable]) -> None:
    assert server(root).known() == truth
    assert [one.summary.status.rows for one in truth if isinstance(one, Known) and one.summary] == [
        (40 + number - (number == 5)) * 1440 - 60 for number in range(12)
    ]
    # A page of one market first, and then that of all.
    again = server(root)
    assert again.known(Market.FUTURES) == []
    assert again.known() == truth


def test_what_changed_meanwhile_is_read_again_and_the_rest_is_not(root: Path, truth: list[Known | Unreadable]) -> None:
    store = Store(root)
    dataset = store.find(Market.SPOT, PAIRS[4])
    assert dataset is not None
    files = store.open(dataset)
    entries = [entry for key, entry in files.entries.items() if key != "2024-01-09"]
    (files.folder / "manifest.json").write_bytes(to_text(dataset, entries))
    again = server(root)
    # Until it is read, the page has its old numbers, and says so.
    assert [one for one in again.known() if isinstance(one, Known) and one.summary is None] == []
    found = read(again)
    assert [one for one in found if one not in truth] == [found[4]]
    assert found == read(server(root, root.with_name("another.json")))
    assert isinstance(found[4], Known) and found[4].summary and found[4].summary.missing_days == 1


def test_a_dataset_that_is_new_gone_or_damaged_is_seen(root: Path, truth: list[Known | Unreadable]) -> None:
    store_days(root, "NEW/USDT", 3)
    (root / "binance" / "N01USDT" / "1m" / "dataset.json").write_text("{")
    (root / "binance" / "N02USDT").rename(root.with_name("gone"))
    found = read(server(root))
    assert [one.folder for one in found if isinstance(one, Unreadable)] == ["binance/N01USDT/1m"]
    names = [one.dataset.pair for one in found if isinstance(one, Known)]
    assert names == [PAIRS[0], *PAIRS[3:], "NEW/USDT"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "0", "root": "", "datasets": {}}', '{"format": "1 of 0.1.0"}', "\x00" * 99]
)
def test_a_file_that_cannot_be_used_costs_a_reading_and_nothing_else(
    root: Path, truth: list[Known | Unreadable], content: str
) -> None:
    file = root.with_name("kept.json")
    file.write_text(content)
    assert read(server(root)) == truth
    # The folder of another root, and no folder at all.
    assert KeptFile(file, root.with_name("other")).read() == {}
    assert read(Summaries(Catalog(Store(root)), KeptFile(None, root))) == truth


def test_files_of_the_last_seconds_are_not_relied_on_by_the_next_server(tmp_path: Path) -> None:
    root = tmp_path / "fresh"
    for pair in PAIRS:
        store_days(root, pair, 3)
    age(root, since_s=-2)  # a slow machine has written for longer than those seconds
    read(server(root))
    wait_until(root.with_name("kept.json").exists)
    assert KeptFile(root.with_name("kept.json"), root).read() == {}


# What a folder is looked into by; of a file that may not be read the versions are known.
LOOKING, READING = ("version", "read_version", "read", "names", "sizes"), ("read_version", "read")


@pytest.mark.parametrize("calls", [LOOKING, READING], ids=["the folder", "the file"])
def test_a_dataset_that_the_disk_refuses_hides_no_other_and_is_there_again_when_it_may_be_read(
    root: Path, calls: tuple[str, ...]
) -> None:
    has_read_it = server(root)
    truth = read(has_read_it)
    wait_until(root.with_name("kept.json").exists)
    path, others = root / "binance" / "N01USDT" / "1m" / "dataset.json", [truth[0], *truth[2:]]
    for summaries in (server(root, root.with_name("none.json")), has_read_it, server(root)):
        if calls == READING:
            age(path)  # it changes once more
        with refused(path.parent if calls == LOOKING else path, *calls):
            found = read(summaries)
            assert [one for one in found if isinstance(one, Known)] == others
            [unreadable] = [one for one in found if isinstance(one, Unreadable)]
            assert unreadable.folder == "binance/N01USDT/1m"
            assert "Permission denied" in unreadable.problem
        # No file has changed.
        wait_until(partial(is_known, summaries, truth))


def test_numbers_from_before_an_error_do_not_come_back_as_those_of_now(
    root: Path, truth: list[Known | Unreadable]
) -> None:
    summaries = server(root)
    store = Store(root)
    dataset = store.find(Market.SPOT, PAIRS[4])
    assert dataset is not None
    files = store.open(dataset)
    # Twice: at the first time nothing of the dataset is in memory.
    for missing in (1, 2):
        entries = [entry for key, entry in files.entries.items() if key > f"2024-01-0{missing}"]
        (files.folder / "manifest.json").write_bytes(to_text(dataset, entries))
        age(root)
        with refused(files.folder / "revisions.jsonl", *READING):
            assert [one.folder for one in read(summaries) if isinstance(one, Unreadable)] == ["binance/N04USDT/1m"]
        wait_until(lambda: all(isinstance(one, Known) and one.is_current for one in summaries.known()))
        found = summaries.known()[4]
        assert isinstance(found, Known) and found.summary and found.summary.missing_days == missing


class EndingCatalog(Catalog):
    """Ends the thread that reads first."""

    has_ended = False

    def view(self, path: StorePath) -> DatasetView:
        if not self.has_ended:
            self.has_ended = True
            sys.exit("the first reader")
        return super().view(path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_ended_is_followed_by_another(root: Path, truth: list[Known | Unreadable]) -> None:
    catalog = EndingCatalog(Store(root))
    assert read(Summaries(catalog, KeptFile(None, root))) == truth
    assert catalog.has_ended


class CountingCatalog(Catalog):
    """Counts how often a dataset is read; `slow_s` makes a reading slow."""

    def __init__(self, root: Path, slow_s: float = 0) -> None:
        super().__init__(Store(root))
        self.read, self._slow_s = 0, slow_s

    def view(self, path: StorePath) -> DatasetView:
        self.read += 1
        time.sleep(self._slow_s)
        return super().view(path)


def test_a_new_day_reads_only_datasets_of_which_a_day_was_requested(root: Path) -> None:
    # The datasets end from 2024-02-09 on, one day after the other.
    days, catalog = ["2024-02-15T00:00Z", "2024-02-16T23:59Z", "2024-02-18T12:00Z"], CountingCatalog(root)
    now_s = [0.0]
    summaries = Summaries(catalog, KeptFile(None, root), lambda: now_s[0])
    for day, readings in zip(days, [12, 6, 5], strict=True):
        catalog.read, now_s[0] = 0, at(day) / 1000
        found = read(summaries)
        assert catalog.read == readings
        assert found == read(Summaries(Catalog(Store(root)), KeptFile(None, root), lambda: now_s[0]))


def test_klines_in_the_journal_count_without_reading_the_dataset_again(root: Path) -> None:
    catalog, journal = CountingCatalog(root), JournalWriter(market_journal(root, Market.SPOT))
    summaries = Summaries(catalog, KeptFile(None, root))
    read(summaries)
    for minute, readings in ((0, 1), (1, 0), (5, 0)):
        catalog.read, open_ms = 0, at("2024-02-14T00:00Z") + minute * MINUTE_MS
        journal.append([(Owner(PAIRS[4], "UTC"), bits_of(klines_at([open_ms])))])
        found = read(summaries)
        assert catalog.read == readings
        assert found == read(server(root, root.with_name("another.json")))
    journal.close()


def test_a_journal_that_cannot_be_read_is_no_change_and_one_that_cannot_be_listed_hides_the_newest_klines(
    root: Path, truth: list[Known | Unreadable]
) -> None:
    catalog, journal = CountingCatalog(root), market_journal(root, Market.SPOT)
    summaries = Summaries(catalog, KeptFile(None, root))
    with refused(journal, "names"):
        assert {type(one) for one in read(summaries)} == {Unreadable}
    wait_until(partial(is_known, summaries, truth))
    (journal / "1-a.journal").mkdir(parents=True)
    catalog.read = 0
    assert read(summaries) == truth
    assert catalog.read == 0


def test_a_server_that_ends_keeps_what_it_has_read_and_reads_no_more(root: Path) -> None:
    catalog, file = CountingCatalog(root, slow_s=0.05), KeptFile(root.with_name("kept.json"), root)
    summaries = Summaries(catalog, file)
    with summaries.read_ahead():
        wait_until(lambda: catalog.read == 4)
    assert {thread.name for thread in threading.enumerate()}.isdisjoint({"summaries", "read ahead"})
    assert 3 <= len(file.read()) == catalog.read < len(PAIRS)
    # What a last page then shows is still marked as being read.
    assert sum(isinstance(one, Known) and not one.is_current for one in summaries.known()) == 12 - catalog.read
