"""Values: zones and days, datasets, spans of minutes and absences, tables of klines, and the rules that klines keep.

Belongs here: what can be computed from values alone. Does not belong here: files, network, the clock of this machine.
May import: `core.errors`.
"""
