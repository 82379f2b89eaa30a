"""Loads that are divided into runs, which Dagster's queue hands to whoever has room: a dataset and a year each.

Belongs here: submitting such runs once, and what has become of them. Does not belong here: which parts a load has
(`app.market.parts`), what a run does (`defs.bulk`), runs of this process (`instance.runs`).
May import: the modules of `instance`.
"""
