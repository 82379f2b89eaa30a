"""A page of many datasets in a bucket, where each request waits for the network: how many it sends."""

from datetime import date

import pytest

from market_data_pipeline.api.datasets.catalog import Catalog
from market_data_pipeline.api.datasets.kept import KeptFile
from market_data_pipeline.api.datasets.summaries import Known, Summaries
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.days import parse_zone
from market_data_pipeline.core.klines.table import bits_of
from market_data_pipeline.core.store.journal.segments import Owner
from market_data_pipeline.core.store.journal.writing import JournalWriter
from market_data_pipeline.core.store.layout import market_journal
from market_data_pipeline.core.store.root import Store
from market_data_pipeline_tests.core.fakes import klines_at
from market_data_pipeline_tests.objects_proxy import ObjectsProxy, proxied
from market_data_pipeline_tests.places import environment_of, in_bucket
from market_data_pipeline_tests.support import at, wait_until

pytestmark = pytest.mark.slow


def requests_of_a_page(proxy: ObjectsProxy, datasets: int) -> tuple[int, int]:
    """How often a page of so many datasets, all of which are read already, lists, and asks for a segment."""
    root = in_bucket()
    store, pairs = Store(root), [f"N{number:02d}/USDT" for number in range(datasets)]
    for pair in pairs:
        store.create(Market.SPOT, pair, zone=parse_zone("UTC"), start=date(2024, 5, 1))
    minute = bits_of(klines_at([at("2024-05-01T12:00Z")]))
    JournalWriter(market_journal(root, Market.SPOT)).append([(Owner(pair, "UTC"), minute) for pair in pairs])
    summaries = Summaries(Catalog(store), KeptFile(None, root))
    wait_until(lambda: all(isinstance(one, Known) and one.is_current for one in summaries.known()))
    before = len(proxy.requests)
    found = summaries.known()
    sent = proxy.requests[before:]
    newest = [one.summary.status.newest_open_ms for one in found if isinstance(one, Known) and one.summary]
    assert newest == [at("2024-05-01T12:00Z")] * datasets
    return sum("list-type" in each.query for each in sent), sum(each.key.endswith(".journal") for each in sent)


def test_the_journal_of_a_market_is_looked_at_once_however_many_datasets_there_are(
    seaweedfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxied(seaweedfs) as proxy:
        for name, value in environment_of(proxy.url).items():
            monkeypatch.setenv(name, value)
        few, many = requests_of_a_page(proxy, 2), requests_of_a_page(proxy, 9)
    assert few == many
    assert many[1] == 1
