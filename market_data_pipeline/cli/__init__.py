"""The command line, `market-data`.

Belongs here: options, exit codes, what results look like in a terminal. Does not belong here: what commands do (`app`).
May import: every room. No room imports this one.
"""
