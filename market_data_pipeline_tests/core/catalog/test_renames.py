"""The table of renames: each line has a source, and no pair has two successors."""

from market_data_pipeline.core.catalog.renames import all_renames, predecessor, successor
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.klines.pair import parse_pair


def test_every_rename_has_sources_and_pairs_that_can_be_named() -> None:
    assert all_renames()
    for rename in all_renames():
        assert rename.sources and all(source.startswith("https://") for source in rename.sources)
        assert (parse_pair(rename.old), parse_pair(rename.new)) == (rename.old, rename.new)
        assert rename.ratio > 0


def test_a_pair_has_one_successor_and_one_predecessor() -> None:
    for side in ("old", "new"):
        pairs = [(rename.market, getattr(rename, side)) for rename in all_renames()]
        assert len(set(pairs)) == len(pairs)


def test_a_pair_is_found_from_both_sides() -> None:
    rename = successor(Market.SPOT, "FTMUSDT")
    assert rename is not None and (rename.new, str(rename.day), rename.ratio) == ("S/USDT", "2025-01-16", 1)
    assert predecessor(Market.SPOT, "SUSDT") == rename
    assert successor(Market.FUTURES, "FTMUSDT") is None
