"""Which requests a load sends: by which source a minute is requested, what that takes, and what was really sent.

Belongs here: decisions and sums. Does not belong here: requests (`sources.rest`, `sources.archive`, `sources.union`),
which minutes a load needs (`core.loading`).
May import: `core.klines`, `errors`.
"""
