"""Which pairs several words mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.patterns import Among, parse_patterns

PAIRS = ["BTC/USDT", "ETH/USDT", "BTCDOWN/USDT", "ETH/BTC", "BTC/USDT_240628", "币安人生/USDT"]


def chosen(*words: str) -> list[str]:
    return parse_patterns(words, has_contracts=True).choose(PAIRS, Among.CATALOG)


@pytest.mark.parametrize(
    ("words", "pairs"),
    [
        (["BTC/USDT"], ["BTC/USDT"]),
        (["NEW/USDT", "btcusdt"], ["NEW/USDT", "BTCUSDT"]),
        (["*/USDT"], ["BTC/USDT", "BTCDOWN/USDT", "ETH/USDT", "币安人生/USDT"]),
        (["*/usdt", "!*DOWN/*"], ["BTC/USDT", "ETH/USDT", "币安人生/USDT"]),
        (["ETH*"], ["ETH/BTC", "ETH/USDT"]),
        (["BTCUSDT*"], ["BTC/USDT", "BTC/USDT_240628"]),
        (["ETH/USDT", "*/USDT", "!btcusdt", "!币*"], ["ETH/USDT", "BTCDOWN/USDT"]),
        (["BTC/USDT:USDT", "ETH/*"], ["BTC/USDT", "ETH/BTC", "ETH/USDT"]),
        (["[BE]T?/USDT"], ["BTC/USDT", "ETH/USDT"]),
    ],
)
def test_names_come_first_and_then_what_globs_match(words: list[str], pairs: list[str]):
    assert chosen(*words) == pairs


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["*/EUR"], "'*/EUR' matches no pair"),
        (["BTC/USDT", "BTCUSDT"], "named twice, as 'BTC/USDT' and 'BTCUSDT'"),
        (["BTC/USDT", "!*"], "no pair is left without *"),
        (["!BTC/USDT"], "no pair is named"),
        ([], "no pair is named"),
        (["BTC/"], "not a pair"),
        (["*/USDT", "!B/T/C"], "not a pair"),
    ],
)
def test_what_means_nothing_is_refused(words: list[str], problem: str):
    with pytest.raises(UsageError) as refused:
        chosen(*words)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("words", "token", "may"),
    [
        (["*/USDT"], "BTCUSDT", True),
        (["ETH/*", "btc*"], "BTCUSDT", True),
        (["ETH*"], "BTCUSDT", False),
        (["*/USDT", "!btcusdt"], "BTCUSDT", False),
        (["*/USDT", "!*DOWN/*"], "BTCDOWNUSDT", True),
        (["BTC/USDT"], "BTCUSDT", False),
    ],
)
def test_by_its_symbol_a_pair_is_passed_over_that_no_glob_can_match(words: list[str], token: str, may: bool):
    assert parse_patterns(words, has_contracts=True).may_choose(token) is may


@given(st.lists(st.sampled_from([*PAIRS, "*", "*/USDT", "E*", "!*DOWN*", "!ETH/*"]), min_size=1, max_size=6))
def test_no_pair_is_chosen_twice_and_none_that_is_left_out(words: list[str]):
    try:
        pairs = chosen(*words)
    except UsageError:
        return
    assert pairs and len(pairs) == len(set(pairs))
    assert set(pairs) <= set(PAIRS)
    assert not any(word == "!ETH/*" for word in words) or not any(pair.startswith("ETH/") for pair in pairs)
