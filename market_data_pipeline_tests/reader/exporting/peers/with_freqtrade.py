"""What freqtrade reads of an export: run by its own Python, it prints JSON. Does not belong here: assertions.

    python with_freqtrade.py DATADIR PAIR spot|futures TIMEFRAME REWRITTEN

It loads the pair as a backtest does, without filling, and has freqtrade write the same candles into REWRITTEN.
"""

import json
import sys
from pathlib import Path

import freqtrade
from freqtrade.data.history import get_datahandler
from freqtrade.enums import CandleType, TradingMode

datadir, pair, market, timeframe, rewritten = Path(sys.argv[1]), *sys.argv[2:5], Path(sys.argv[5])
kind = CandleType(market)
handler = get_datahandler(datadir, "feather")
listed = handler.ohlcv_get_available_data(datadir, TradingMode(market))
options = {"timeframe": timeframe, "candle_type": kind, "drop_incomplete": False}
candles = handler.ohlcv_load(pair, fill_missing=False, **options)
filled = handler.ohlcv_load(pair, fill_missing=True, **options)
first, last, count = handler.ohlcv_data_min_max(pair, timeframe, kind)
rewritten.mkdir(parents=True, exist_ok=True)
get_datahandler(rewritten, "feather").ohlcv_store(pair, timeframe, candles, kind)
print(
    json.dumps(
        {
            "version": freqtrade.__version__,
            "listed": [[name, length, str(candle_type)] for name, length, candle_type in listed],
            "types": {name: str(type_) for name, type_ in candles.dtypes.items()},
            "rows": [
                [int(row.date.timestamp()) * 1000, row.open, row.high, row.low, row.close, row.volume]
                for row in candles.itertuples()
            ],
            "filled": len(filled),
            "min_max": [first.isoformat(), last.isoformat(), count],
        }
    )
)
