"""The command line, `market-data`.

Belongs here: commands and their options, exit codes, how results look in a terminal. Does not belong here: what the
commands do (`app`).
May import: every room. No room imports this one.
"""
