"""REST and the archive as one source of a pair's klines.

Belongs here: which of the two a minute is requested from, what replaces one that fails, when a pair was traded, and the
proof that minutes never had klines. Does not belong here: the requests to either (`sources.rest`, `sources.archive`).
May import: the other modules of `core.sources`, `core.klines`, `core.errors`.
"""
