"""A verified, resumable, local store of Binance 1-minute klines.

What is named here is the Python interface, see docs/python.md. Each name is imported when it is first used, so that
importing the package, or its reader, stays fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from market_data_pipeline.core.errors import MarketDataWarning
    from market_data_pipeline.python.calls import backfill, combine, status, verify
    from market_data_pipeline.python.many import backfill_many, combine_many, plan
    from market_data_pipeline.python.market import pairs, universe
    from market_data_pipeline.python.research import remove_snapshot, snapshot, snapshots, verify_snapshot
    from market_data_pipeline.reader import open_dataset, open_panel
    from market_data_pipeline.reader.exporting import export

__version__ = "0.1.0"
__all__ = [
    "MarketDataWarning",
    "backfill",
    "backfill_many",
    "combine",
    "combine_many",
    "export",
    "open_dataset",
    "open_panel",
    "pairs",
    "plan",
    "remove_snapshot",
    "snapshot",
    "snapshots",
    "status",
    "universe",
    "verify",
    "verify_snapshot",
]
_ROOMS = {
    "MarketDataWarning": "core.errors",
    "export": "reader.exporting",
    "open_dataset": "reader",
    "open_panel": "reader",
    **dict.fromkeys(("backfill_many", "combine_many", "plan"), "python.many"),
    **dict.fromkeys(("pairs", "universe"), "python.market"),
    **dict.fromkeys(("remove_snapshot", "snapshot", "snapshots", "verify_snapshot"), "python.research"),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        room = import_module(f"{__name__}.{_ROOMS.get(name, 'python.calls')}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.python":
            raise
        # AttributeError, so that `from market_data_pipeline import *` and `hasattr` take it for what it is.
        # A file, because the project is in no package index: pip would take a foreign package of its name.
        wheel = f"market_data_pipeline-{__version__}-py3-none-any.whl"
        raise AttributeError(f"{name} is not in the reader alone; in its place install the file {wheel}") from None
    value = getattr(room, name)
    globals()[name] = value  # so that this function is asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
