"""A verified, resumable, local store of Binance 1-minute klines.

What is named here is the Python interface, see docs/python.md. Each name is imported when it is first used, so that
importing the package, or its reader, stays fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from market_data_pipeline.python.calls import MarketDataWarning, backfill, combine, status, verify
    from market_data_pipeline.reader import open_dataset, open_panel

__version__ = "0.1.0"
__all__ = ["MarketDataWarning", "backfill", "combine", "open_dataset", "open_panel", "status", "verify"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    of_reader = name.startswith("open_")
    value = getattr(import_module(f"{__name__}.reader" if of_reader else f"{__name__}.python.calls"), name)
    globals()[name] = value  # so that this function is asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
