"""Dagster's definitions of a whole market.

Belongs here: the asset `[exchange_id, "pairs"]`, its check, its job and its schedule. Does not belong here: definitions
of datasets (the other modules of `defs`), refreshing a catalog (`core.catalog.refresh`).
"""
