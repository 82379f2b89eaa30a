"""One installation: its Dagster home, storage and runs, the names in its code location, its log, its core objects.

Belongs here: what the definitions (`defs`) and the use cases (`app`) both need. Does not belong here: definitions and
use cases themselves. `names`, `home`, `logs` and `composition` do not import Dagster, which takes seconds.
May import: `core`, `settings`.
"""
