"""`market-data up`: the processes of an installation, started, watched and stopped as one command.

Belongs here: processes, the addresses they listen at, signals that stop a command. Does not belong here: what the
processes do (`api`, `defs`).
May import: `core`, `instance`, `settings`.
"""
