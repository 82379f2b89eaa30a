"""The files of a market's catalog.

Belongs here: the snapshots, one Parquet file for a UTC day, and what an interrupted refresh has learned. Does not
belong here: what a pair of the catalog is and how it is learned (`core.catalog`).
May import: the other modules of `core.store`, `core.catalog`, `core.klines`, `core.errors`.
"""
