"""From a window to chunks on disk: a backfill, a day of live mode, the bad days of a repair.

Belongs here: which pair is meant, what each day needs, asking for it, the reason for each absent minute, publishing.
Does not belong here: HTTP, files, Dagster, the words for people.
May import: `core.store`, `core.sources`, `core.klines`, `core.errors`.
"""
