"""A verified, resumable, local store of Binance 1-minute klines.

What is named here is the Python interface, see docs/python.md. Each name is imported when it is first used, so that
importing the package, or its reader, stays fast.
"""

from importlib.util import find_spec
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
    **dict.fromkeys(("open_dataset", "open_panel"), "reader"),
    **dict.fromkeys(("backfill", "combine", "status", "verify"), "python.calls"),
    **dict.fromkeys(("backfill_many", "combine_many", "plan"), "python.many"),
    **dict.fromkeys(("pairs", "universe"), "python.market"),
    **dict.fromkeys(("remove_snapshot", "snapshot", "snapshots", "verify_snapshot"), "python.research"),
}
if find_spec(f"{__name__}.python") is None:  # in the reader alone
    __all__[:] = [name for name in __all__ if not _ROOMS[name].startswith("python.")]


def __getattr__(name: str) -> Any:
    import sys
    from importlib import import_module

    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in __all__:
        value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
        globals()[name] = value  # so that this function is asked once
        return value
    # A file, because the project is in no package index: pip would take a foreign package of its name.
    wheel = f"market_data_pipeline-{__version__}-py3-none-any.whl"
    reason = f"{name} is not in the reader alone; in its place install the file {wheel}"
    # `from market_data_pipeline import ...` shows only an ImportError, `hasattr` takes only an AttributeError.
    is_import = sys._getframe(1).f_code.co_name == "_handle_fromlist"
    raise ImportError(reason, name=__name__) if is_import else AttributeError(reason)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
