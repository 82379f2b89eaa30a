"""The archive of the exchange: daily files of klines at data.binance.vision.

Belongs here: names of files, downloads and their retries, checksums, unpacking. Does not belong here: REST, and what is
done where a file is missing or bad (`sources.union`).
May import: the other modules of `core.sources`, `core.catalog`, `core.klines`, `core.errors`.
"""
