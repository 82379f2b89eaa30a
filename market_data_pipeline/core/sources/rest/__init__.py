"""The REST API of the exchange, through ccxt's raw methods.

Belongs here: which request has which klines, its weight, its retries. Does not belong here: the
archive, and what is done where REST has no klines (`sources.union`).
May import: the other modules of `core.sources`, `core.catalog`, `core.klines`, `core.errors`.
"""
