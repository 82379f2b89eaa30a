"""The counts that there are. Their names are public: dashboards and alerts of users have them.

Belongs here: names, labels, bounds and one line on each. Does not belong here: adding up (`memory`).
docs/monitoring.md lists them; a test compares that page with this module.
"""

from market_data_pipeline.core.counting.memory import Counter, Timer

DAYS_LOADED = Counter(
    "market_data_days_loaded_total",
    "Days that loads have written, by the source of their klines.",
    ("market", "source"),
)
DAYS_FAILED = Counter("market_data_days_failed_total", "Days that loads have failed to write.", ("market",))
KLINES_LOADED = Counter(
    "market_data_klines_loaded_total", "Klines in the days that loads have written.", ("market", "source")
)
LIVE_KLINES = Counter("market_data_live_klines_total", "Klines that live mode has added.", ("market",))
LIVE_UPDATES = Counter(
    "market_data_live_updates_total",
    "Updates of a dataset by a tick of live mode: good, late (the exchange did not have the minute in time), behind "
    "(days are missing first) or failed.",
    ("market", "result"),
)
LIVE_TICK = Timer(
    "market_data_live_tick_seconds",
    "How long a tick of live mode took for all datasets of a market.",
    (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
    ("market",),
)
RETRIES = Counter(
    "market_data_retries_total",
    "Requests that were sent again: no_response, fault (the exchange stated one), refused (too many requests), "
    "wrong_answer or bad_file.",
    ("source", "kind"),
)
WEIGHT_WAIT = Timer(
    "market_data_weight_wait_seconds",
    "How long requests waited for request weight, or for the end of a refusal; those that did not wait are left out.",
    (1.0, 5.0, 15.0, 30.0, 60.0, 150.0),
    ("market",),
)
STORE = Timer(
    "market_data_store_seconds",
    "How long the store took: publish (a day), manifest (writing it), read (a day), journal (a minute of live mode).",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
    ("operation",),
)

COUNTERS = (DAYS_LOADED, DAYS_FAILED, KLINES_LOADED, LIVE_KLINES, LIVE_UPDATES, RETRIES)
TIMERS = (LIVE_TICK, WEIGHT_WAIT, STORE)
