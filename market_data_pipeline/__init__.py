"""A verified, resumable, local store of Binance 1-minute klines."""

__version__ = "0.1.0"
