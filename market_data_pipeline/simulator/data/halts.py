"""Halts: times at which a whole market had no trades.

Belongs here: stretches of minutes, and the known halts of each market.
Does not belong here: when one pair was listed and delisted (`pairs`), the klines of a halt (`prices`).

On spot, a halted minute has no kline. On futures, it has a flat kline with volume 0.
"""

from dataclasses import dataclass

from market_data_pipeline.simulator.data.clock import MINUTE_MS
from market_data_pipeline.simulator.data.pairs import Market, instant_ms


@dataclass(frozen=True, slots=True)
class Stretch:
    """The minutes from `start` to before `stop`, counted from the epoch."""

    start: int
    stop: int


# First and last halted minute, UTC.
_SPOT = """
2017-09-06T16:00 2017-09-06T22:59
2017-12-04T06:01 2017-12-04T06:48
2017-12-18T10:01 2017-12-18T10:14
2017-12-18T12:30 2017-12-18T13:33
2018-01-04T03:00 2018-01-04T05:06
2018-02-08T00:29 2018-02-09T09:57
2018-02-10T06:00 2018-02-10T06:14
2018-02-11T04:01 2018-02-11T04:34
2018-06-26T02:00 2018-06-26T11:59
2018-06-27T13:00 2018-06-27T14:45
2018-07-04T00:23 2018-07-04T07:59
2018-10-19T06:00 2018-10-19T09:30
2018-11-14T02:00 2018-11-14T08:59
2019-03-12T02:00 2019-03-12T07:59
2019-05-15T03:00 2019-05-15T12:59
2019-06-07T21:14 2019-06-07T22:15
2019-08-15T02:00 2019-08-15T09:59
2020-02-09T02:00 2020-02-09T02:59
2020-02-19T11:36 2020-02-19T17:29
2020-03-04T09:22 2020-03-04T11:29
2020-04-25T02:00 2020-04-25T04:29
2020-06-28T02:00 2020-06-28T05:29
2020-11-30T06:00 2020-11-30T06:59
2020-12-21T14:10 2020-12-21T17:59
2020-12-25T02:00 2020-12-25T02:59
2021-02-11T03:41 2021-02-11T04:59
2021-03-06T02:00 2021-03-06T03:29
2021-04-20T02:00 2021-04-20T04:29
2021-04-25T04:01 2021-04-25T08:44
2021-08-13T02:00 2021-08-13T06:29
2021-09-29T07:00 2021-09-29T08:59
2023-03-24T12:40 2023-03-24T13:59
"""
_FUTURES = "2025-08-29T06:17 2025-08-29T06:59"


def _parse(text: str) -> tuple[Stretch, ...]:
    minutes = [instant_ms(word) // MINUTE_MS for word in text.split()]
    return tuple(Stretch(first, last + 1) for first, last in zip(minutes[::2], minutes[1::2], strict=True))


_HALTS: dict[Market, tuple[Stretch, ...]] = {"spot": _parse(_SPOT), "futures": _parse(_FUTURES)}


def halts_between(market: Market, start_minute: int, stop_minute: int) -> list[Stretch]:
    """Return the halts of a market that overlap the minutes from `start_minute` to before `stop_minute`."""
    return [halt for halt in _HALTS[market] if halt.start < stop_minute and halt.stop > start_minute]
