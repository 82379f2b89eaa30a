"""Days of a live dataset that need runs for several reasons at once."""

from datetime import date
from pathlib import Path

from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.live.dataset import LiveDataset
from market_data_pipeline.core.live.runs_due import DueDays, Reason, due_days
from market_data_pipeline.core.loading.load_days import backfill
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import FakeSource, at, span

NOW = "2024-03-08T12:00Z"
ODD, LATER = "2024-03-05", "2024-03-07"


def two_due(root: Path) -> list[DueDays]:
    """Of three days, each loaded from REST alone, one has a minute that nothing explains."""
    store = Store(root).create(Market.SPOT, "BTC/USDT", zone=parse_zone("UTC"), start=date.fromisoformat(ODD))
    source = FakeSource(now=NOW, missing=[span("2024-03-05T10:00Z", "2024-03-05T10:01Z")], unproven=True)
    list(backfill(store, source, span(f"{ODD}T00:00Z", NOW)))
    return due_days(LiveDataset(store, source), at(NOW))


def test_a_day_that_stays_unexplained_keeps_no_other_day_from_being_compared_with_the_archive(tmp_path):
    assert [(due.reason, due.first.key, due.last.key) for due in two_due(tmp_path)] == [
        (Reason.TO_CONFIRM, ODD, ODD),
        (Reason.TO_ARCHIVE, ODD, LATER),
    ]
