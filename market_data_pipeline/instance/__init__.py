"""One installation: its Dagster home, storage and runs, the names in its code location, its log, its core objects.

Belongs here: what Dagster definitions and the application both need. Does not belong here: definitions (`defs`), use
cases (`app`). `names`, `logs` and `composition` import no Dagster, which takes seconds.
May import: `core`, `settings`.
"""
