"""The catalog: every pair of a market that ever had klines, with the days on which it was traded.

Belongs here: values of the catalog, how a pair is told from what the sources know, when a source is asked, what differs
between two snapshots. Does not belong here: requests (`sources`), files (`store`), printing.
May import: `core.klines`, `core.errors`, `core.text`. `ports` has what it needs of the sources and of the store.
"""
