"""The disk of this machine.

Belongs here: each call of the store that changes a file or a folder, waiting for a lock. Does not belong here: in which
order they come (`store.atomic`), what the files are (`layout`).
May import: the standard library, filelock, psutil.
"""
