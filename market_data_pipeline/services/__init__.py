"""`market-data up`: the processes of an installation, started, watched and stopped as one command.

Belongs here: processes, addresses to listen at, signals. Does not belong here: what the processes do.
May import: `core`, `instance`, `settings`.
"""
