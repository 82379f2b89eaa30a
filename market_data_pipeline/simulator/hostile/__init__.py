"""Answers and files that do harm: bodies without end, bombs, lies about sizes, documents of wrong types.

Belongs here: tables of faults by name, each with its text and the function that commits it, a module for each kind.
Nothing in them takes more than some MB of memory: what has no end is made piece by piece. Does not belong here: which
request has a fault (`faults`), sending (`delivery`), faults of a healthy exchange (`page_faults`, `file_faults`).
May import: `data` and `queries`.
"""
