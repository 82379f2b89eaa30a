"""The exchange, as it is seen from here: its clock against this machine's, request weight, proxies.

Belongs here: one request to each market, and what the environment says of the way there. Does not belong here: whether
a pair is listed (`app.health`), the object store (`places`).
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from market_data_pipeline.app.doctor.lines import Line, of_error
from market_data_pipeline.app.health import MOST_CLOCK_ERROR_MS, SET_CLOCK
from market_data_pipeline.core.errors import MarketDataError
from market_data_pipeline.core.klines.dataset import Market
from market_data_pipeline.core.sources.archive.files import ADDRESS
from market_data_pipeline.core.sources.proxies import proxy_settings_for
from market_data_pipeline.core.text import clock_text
from market_data_pipeline.instance.composition import live_sources_of
from market_data_pipeline.settings import Settings

SECTION = "exchange"
LATE = "check the network, and the proxy if there is one; what is stored can be read without"


def market(settings: Settings, of_market: Market) -> Iterator[Line]:
    """The market's clock and request weight; one request with short deadlines."""
    name, egress = of_market.value, settings.market_data_egress or "this host"
    with closing(live_sources_of(settings, of_market)) as sources:
        try:
            behind_ms = sources.set_clock()
        except MarketDataError as error:
            yield of_error(SECTION, name, error, LATE)
            behind_ms = None
        if behind_ms is not None:
            seen = f"{sources.address} answers; this machine's clock is {clock_text(behind_ms)}"
            is_off = abs(behind_ms) > MOST_CLOCK_ERROR_MS
            yield Line(SECTION, name, seen, SET_CLOCK if is_off else "")
        try:
            usage = sources.usage()
        except MarketDataError as error:
            yield of_error(SECTION, f"{name} weight", error, "check the database of the Dagster instance")
            return
    used = f"{usage.used:,} of {usage.limit:,} used in this minute by {egress}"
    if usage.closed_s:
        cure = "wait, and stop other programs that send requests from this address"
        yield Line(SECTION, f"{name} weight", f"{used}; requests are refused for {usage.closed_s:.0f} s more", cure)
    else:
        yield Line(SECTION, f"{name} weight", used)


def proxies(settings: Settings) -> Iterator[Line]:
    """The proxy and the certificates on the way to each address, without credentials."""
    for name, address in _addresses(settings).items():
        try:
            found = proxy_settings_for(address)
        except ValueError as error:
            yield of_error(SECTION, f"{name} proxy", error, "correct HTTP_PROXY and HTTPS_PROXY")
            continue
        certificates, cure = "", ""
        if found.certificates:
            certificates = f", certificates in {found.certificates}"
            if not Path(found.certificates).exists():
                certificates += ", which is not there"
                cure = "correct REQUESTS_CA_BUNDLE, or unset it"
        yield Line(SECTION, f"{name} proxy", f"{address}{found.hint or ' without a proxy'}{certificates}", cure)


def _addresses(settings: Settings) -> dict[str, str]:
    if base := settings.market_data_exchange_url:
        return {"all": base}
    addresses = dict[str, str]()
    for each in Market:
        with closing(live_sources_of(settings, each)) as sources:
            addresses[each.value] = sources.address
    return addresses | {"archive": ADDRESS}
