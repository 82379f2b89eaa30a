"""A whole market: its catalog of pairs, universes, and loads of many pairs.

Belongs here: use cases about more than one dataset. Does not belong here: those about one, which also loop over several
(the modules of `app`).
May import: the modules of `app`, and all that they may import.
"""
