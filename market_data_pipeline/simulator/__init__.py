"""A simulated exchange over HTTP, for tests and for trying things out.

Belongs here: the endpoints of the exchange and its archive, request weights, faults on demand. Does not belong here:
code of the package that is tested with it, so that a mistake cannot be on both sides.
May import: nothing of the other rooms. Only `cli` imports this one.
"""
