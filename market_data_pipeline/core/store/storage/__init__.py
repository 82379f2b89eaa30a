"""Where the files of the store are: a folder, or a bucket of an object store.

Belongs here: what the store needs of such a place (`protocol`), and each kind of place. Does not belong here: which
files there are (`store.layout`), what is in them (the other modules of `store`).
May import: `store.atomic`, `core.errors`, `core.text`.
"""
