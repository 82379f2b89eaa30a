"""Many datasets in a night: one whose proof breaks hides no other, and the one comes first that waits longest."""

import os
import time
from datetime import date
from pathlib import Path

import pytest

from market_data_pipeline.core.bulk.prove import Broken, NightWork, prove_many
from market_data_pipeline.core.klines.dataset import Dataset, Market
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.proof.rolling import DAY_S, Rolled, Turns
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import UTC_ZONE, FakeSource, span

WINDOW = span("2024-03-01", "2024-03-03")


class Ending(Store):
    """A store of which some datasets end the process that reads them, and some are a fault of the program."""

    def read(self, path: Path) -> Dataset:
        if path.parts[-3] == "N003USDT":
            os._exit(7)
        if path.parts[-3] == "N004USDT":
            raise RuntimeError("a fault")
        return super().read(path)


def make(store: Store, number: int, *, loaded: bool = True) -> Path:
    made = store.create(Market.SPOT, f"N{number:03d}/USDT", zone=UTC_ZONE, start=date(2024, 3, 1))
    if loaded:
        list(backfill(made, FakeSource(), WINDOW))
    return made.folder / "dataset.json"


def log() -> None:
    """These processes have no log."""


def prove(store: Store, now_s: float, paths: list[Path] | None = None) -> dict[str, Rolled | Broken]:
    """What is found of each dataset, in the order in which it is told."""
    night = Turns(clock=FixedClock(now_s)).begin()
    return {
        path.parts[-3]: found
        for path, found in prove_many(paths or store.dataset_files(), NightWork(store, night, log))
    }


class FixedClock:
    """A clock that stands, and goes to other processes."""

    def __init__(self, now_s: float) -> None:
        self._now_s = now_s

    def __call__(self) -> float:
        return self._now_s


def test_a_damaged_dataset_has_no_proof_and_hides_no_other(store: Store):
    paths = [make(store, number) for number in range(3)]
    paths[1].write_bytes(b"{}")
    found = prove(store, time.time() + DAY_S)
    broken = found.pop("N001USDT")
    assert isinstance(broken, Broken) and not broken.is_fault and str(paths[1]) in broken.reason
    assert [type(each) for each in found.values()] == [Rolled, Rolled]


def test_the_dataset_comes_first_that_was_read_longest_ago(store: Store):
    now_s = time.time()
    paths = [make(store, number) for number in range(3)]
    for nights, path in zip((2, 1, 3), paths, strict=True):
        prove(store, now_s + nights * DAY_S, [path])
    make(store, 3)
    assert list(prove(store, now_s + 4 * DAY_S)) == ["N003USDT", "N001USDT", "N000USDT", "N002USDT"]


@pytest.mark.slow
def test_a_process_that_dies_takes_the_proof_of_its_dataset_alone(tmp_path: Path):
    store = Ending(tmp_path)
    for number in range(12):
        make(store, number, loaded=number < 2)
    found = prove(store, time.time() + DAY_S)
    assert found.pop("N003USDT") == Broken("the process that proved it ended with code 7", is_fault=True)
    assert found.pop("N004USDT") == Broken("RuntimeError: a fault", is_fault=True)
    read = {token: rolled.read for token, rolled in found.items() if isinstance(rolled, Rolled)}
    assert len(found) == len(read) == 10
    assert {token for token, days in read.items() if days == 2} == {"N000USDT", "N001USDT"}
