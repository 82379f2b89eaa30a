"""Every spelling of a pair leads to one, and a slash in the wrong place to none."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data_pipeline.core.errors import UsageError
from market_data_pipeline.core.klines.pair import (
    QUOTES,
    is_token,
    pair_by_rule,
    pair_of,
    parse_pair,
    require_same,
    token_of,
)

letters = st.text(st.characters(categories=["Lu", "Lo", "Nd"]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("BTC/USDT", "BTC/USDT"),
        (" btc/usdt ", "BTC/USDT"),
        ("BTC/USDT:USDT", "BTC/USDT"),
        ("BTC/USDT:USDT-240628", "BTC/USDT_240628"),
        ("BTC/USDT-240628", "BTC/USDT_240628"),
        ("btc/usdt_240628", "BTC/USDT_240628"),
        ("BTCUSDT", "BTCUSDT"),
        ("BTCUSDT_240628", "BTCUSDT_240628"),
        ("ICPUSDT_SETTLED", "ICPUSDT_SETTLED"),
        ("1000SHIB/USDT", "1000SHIB/USDT"),
        ("币安人生/USDT", "币安人生/USDT"),
        ("币安人生/usdt:usdt", "币安人生/USDT"),
        ("我踏马来了USDT", "我踏马来了USDT"),
        (unicodedata.normalize("NFD", "Ängel/USDT"), "ÄNGEL/USDT"),
        ("straße/USDT", "STRAßE/USDT"),
        ("ı/USDT", "ı/USDT"),
        ("हिन्दी/USDT", "हिन्दी/USDT"),
    ],
)
def test_a_spelling_is_read(text, pair):
    assert parse_pair(text) == pair


@pytest.mark.parametrize(
    "text",
    ["", "/", "BTC/", "/USDT", "BTC//USDT", "BTC/USDT/ETH", "BTC USDT", "BTC-USDT", "BTCUSDT-240628", "BTCUSDT:USDT",
     "BTC/USDT:", "BTC/USDT:USDT-", "BTC/USDT:USDT-24", "BTC/USDT:USDT-240628-50000-C", "../BTC", "BTC\\USDT",
     "BTC/USDT\n1", "BTC/US.DT", "BTC/USDT.", "BTC/USDT_", "_/USDT", "BTC/U\u200bSDT", "BTC/US\x00DT", "😀/USDT",
     "\ud800/USDT", "*", "BTC/USD?"],
)  # fmt: skip
def test_other_texts_are_refused_in_one_line(text):
    with pytest.raises(UsageError, match=r"\Anot a pair: [^\n]*BASE/QUOTE[^\n]*\Z"):
        parse_pair(text)


def test_several_pairs_are_no_pair_and_the_functions_that_take_them_are_named():
    with pytest.raises(UsageError, match=r"not one pair: \['BTC/USDT', 'ETH/USDT'\]; .*; backfill_many.*several$"):
        parse_pair(["BTC/USDT", "ETH/USDT"])


@pytest.mark.parametrize("text", ["BTCUSDT", "BTCUSDT_240628", "币安人生USDT", "हिन्दीUSDT"])
def test_a_symbol_is_names_with_low_lines_between(text):
    assert is_token(text)
    assert not any(map(is_token, (f"_{text}", f"{text}_", f"{text}__1", f"{text} 1", f"{text}-1", f"{text}/1", "")))


@pytest.mark.parametrize("text", ["CON", "c/on", "aux", "NUL", "COM/1", "LPT9"])
def test_no_pair_has_a_name_that_no_folder_on_windows_can_have(text):
    with pytest.raises(UsageError, match="Windows"):
        parse_pair(text)


def test_a_pair_longer_than_the_exchange_allows_is_refused():
    assert parse_pair(f"{'A' * 46}/USDT")
    with pytest.raises(UsageError, match="more than 50 characters"):
        parse_pair(f"{'A' * 47}/USDT")


def test_a_contract_is_refused_where_there_are_none_and_where_it_settles_in_something_else():
    with pytest.raises(UsageError, match=r"write BTC/USDT, or choose the market futures"):
        parse_pair("BTC/USDT:USDT", has_contracts=False)
    with pytest.raises(UsageError, match="settles in BTC"):
        parse_pair("BTC/USD:BTC")


@given(letters, letters)
def test_any_letters_make_a_pair_that_is_read_as_itself(base, quote):
    try:
        pair = parse_pair(f"{base}/{quote}")
    except UsageError as error:
        assert "Windows" in str(error)
        return
    assert parse_pair(pair) == pair
    assert parse_pair(token_of(pair)) == token_of(pair)


@pytest.mark.parametrize(
    ("token", "base", "quote", "pair"),
    [
        ("BTCUSDT", "BTC", "USDT", "BTC/USDT"),
        ("BTCUSDT_240628", "BTC", "USDT", "BTC/USDT_240628"),
        ("币安人生USDT", "币安人生", "USDT", "币安人生/USDT"),
        ("ETHBTC", "BTC", "ETH", None),
        ("BTCUSDT", "", "USDT", None),
        ("BTCUSDT", "BTC", "", None),
        ("BTCUSDT", "BTC", "BUSD", None),
    ],
)
def test_the_slash_is_where_the_exchange_says(token, base, quote, pair):
    assert pair_of(token, base, quote) == pair


@pytest.mark.parametrize(
    ("named", "pair"),
    [
        ("BTCUSDT", "BTC/USDT"),
        ("BTCUSDT_240628", "BTC/USDT_240628"),
        ("BTC/USDT_240628", "BTC/USDT_240628"),
        ("ICPUSDT_SETTLED", "ICP/USDT_SETTLED"),
        ("AERGOUSDTSETTLEDSETTLED", "AERGO/USDTSETTLEDSETTLED"),
        ("TUSDT", "T/USDT"),
        ("BTCBUSD", "BTC/BUSD"),
        ("币安人生USDT", "币安人生/USDT"),
        ("BTCB/UNKNOWN", "BTCB/UNKNOWN"),
        ("EURIDR", "EUR/IDR"),
        ("ADA/EUR", "ADA/EUR"),
        ("BTC/AEUR", "BTC/AEUR"),
    ],
)
def test_without_the_exchange_the_quote_is_a_known_one(named, pair):
    assert pair_by_rule(named) == pair


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("BTCU/SDT", "there is no BTCU/SDT: BTCUSDT is BTC/USDT; write BTC/USDT or BTCUSDT"),
        ("TUSD/T", "TUSDT is T/USDT"),
        ("A/BTCUSDT", "ABTCUSDT is ABTC/USDT"),
        ("BTCUNKNOWN", "does not list BTCUNKNOWN, which ends with no known quote asset; write BASE/QUOTE"),
        ("USDT", "ends with no known quote asset"),
        ("ADAEUR", "which may be AD/AEUR or ADA/EUR; write BASE/QUOTE"),
    ],
)
def test_what_the_rule_does_not_give_is_refused(named, words):
    with pytest.raises(UsageError, match=words):
        pair_by_rule(named)


@pytest.mark.parametrize("quote", QUOTES)
def test_a_slash_before_a_known_quote_stays(quote):
    assert pair_by_rule(f"BASE/{quote}") == f"BASE/{quote}"
    with pytest.raises(UsageError, match=f"BASE/{quote}"):
        pair_by_rule(f"BAS/E{quote}")


def test_a_slash_in_another_place_is_refused_and_a_symbol_is_not():
    require_same("BTCUSDT", "BTC/USDT")
    require_same("BTC/USDT", "BTC/USDT")
    with pytest.raises(UsageError, match="write BTC/USDT or BTCUSDT"):
        require_same("BTCU/SDT", "BTC/USDT")
