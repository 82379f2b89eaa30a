"""Many datasets as one job: several at once, each in a process of its own.

Belongs here: what is shared by datasets that are worked on together. Does not belong here: the work on one dataset
(`loading`, `proof`, `live`).
May import: all other rooms of `core`.
"""
