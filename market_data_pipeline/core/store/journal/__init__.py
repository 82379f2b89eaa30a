"""The journal of a market: klines of open days that live mode has stored, and that no chunk has yet.

Belongs here: the format of its segments, reading and writing them, what a process that was killed leaves behind. Does
not belong here: which klines may be in it (`live.open_day`), how they get into a chunk (`loading.fold`).
May import: `store.layout`, `store.atomic`, `core.klines`, `core.errors`.

A segment is a file that one process appends to, one record for all datasets whose klines arrived together. It is
removed once all its klines are in chunks. A chunk's value always counts before one of the journal.
"""
